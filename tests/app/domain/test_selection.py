from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.constraints import disk_need_bytes, predicted_peak_bytes
from app.domain.explain import Candidate
from app.domain.pareto import costs, dominates
from app.domain.selection import Current, PolicyInForce, objective_key, select
from contract.decision import Observation
from contract.device import DeviceProfile
from contract.policy import PolicyBody
from tests.app.release_maker import DEFAULT_POINTS, point, release
from tests.app.world import MB, profile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LARGE_HEAD = point("large").key
SMALL_STEM = point("small", cut="stem").key
OBJECTIVES = (
    "max_accuracy",
    "min_train_bytes",
    "min_train_seconds",
    "min_latency",
    "min_artifact_bytes",
)
RELEASES = {}
PARAMETERS = {"b": 2_000_000, "c": 30_000_000}
"""What the larger variants train; the tiny ones are no matter on a disk."""


def made(points):
    """Return a release of these points; the files are only made once per set of variants."""
    names = tuple(dict.fromkeys(p.variant for p in points))
    if names not in RELEASES:
        found = release(1, tuple(point(n) for n in names))[0]
        variants = (sized(v, PARAMETERS.get(v.name, v.parameters)) for v in found.variants)
        RELEASES[names] = found.model_copy(update={"variants": tuple(variants)})
    return RELEASES[names].model_copy(update={"points": tuple(points)})


def sized(variant, parameters):
    return variant.model_copy(update={"parameters": parameters})


def decide(points=DEFAULT_POINTS, *, cap_mb=350, policy=None, seen=(), current=None, **changes):
    box = DeviceProfile.model_validate(profile(operator_cap_bytes=int(cap_mb * MB), **changes))
    return select(
        profile=box,
        policy=PolicyInForce(name="p", version=1, body=policy or PolicyBody()),
        release=made(points),
        observations={o.point_key: o for o in seen},
        current=current,
        now=NOW,
    )


def verdict(decision, key):
    return next(v for v in decision.verdicts if v.point_key == key)


def test_takes_the_most_accurate_that_fits():
    decision = decide()
    assert decision.action == "train"
    assert decision.chosen.key == LARGE_HEAD
    assert verdict(decision, LARGE_HEAD).chosen
    assert verdict(decision, LARGE_HEAD).failures == ()


def test_says_by_how_much_memory_is_short():
    decision = decide([point("a", workload_mb=365)], cap_mb=50 + 180 / 0.95)
    (failure,) = decision.verdicts[0].failures
    assert failure.text == "needs 412 MB, budget 180 MB: 232 MB short"
    assert (failure.constraint, failure.needed, failure.unit) == ("memory", 412 * MB, "bytes")
    assert decision.action == "idle"
    assert "232 MB short" in decision.why


def test_names_the_best_point_that_did_not_fit():
    decision = decide()
    assert decision.next_better.startswith("large (full 32px b8/8) (96.0 % accuracy) would be")
    assert "short" in decision.next_better
    everything = decide(cap_mb=2000)
    assert everything.next_better == "No point that did not fit would have been better."


@pytest.mark.parametrize(
    "missing", ["accuracy", "workload_mb", "seconds", "latency_ms", "artifact_mb"]
)
def test_a_missing_number_never_passes(missing):
    decision = decide([point("a", **{missing: None})])
    assert decision.chosen is None
    assert "missing_measurement" in {f.constraint for f in decision.verdicts[0].failures}


def test_a_box_that_has_not_measured_its_floor_gets_nothing_unless_it_saw_a_peak():
    assert decide([point("a")], runtime_floor_bytes=None).chosen is None
    saw = Observation(point_key=point("a").key, peak_bytes=90 * MB)
    assert decide([point("a")], runtime_floor_bytes=None, seen=[saw]).chosen is not None


@pytest.mark.parametrize(
    ("policy", "constraint"),
    [
        (PolicyBody(accuracy_floor=0.95), "accuracy_floor"),
        (PolicyBody(max_latency_ms=1.0), "latency"),
        (PolicyBody(max_artifact_bytes=1000), "artifact_size"),
    ],
)
def test_a_policy_limit_makes_a_point_ineligible(policy, constraint):
    decision = decide([point("a")], policy=policy)
    (failure,) = decision.verdicts[0].failures
    assert failure.constraint == constraint
    assert "short" in failure.text or "over" in failure.text


def test_a_full_disk_and_a_foreign_runtime_make_a_point_ineligible():
    assert decide([point("a")], disk_free_bytes=10).verdicts[0].failures[0].constraint == "disk"
    foreign = decide([point("a")], providers=["CUDAExecutionProvider"])
    assert foreign.verdicts[0].failures[0].constraint == "runtime"


def test_a_box_is_not_sent_off_its_point_for_the_disk_that_its_own_files_take():
    points = [point("a", accuracy=0.9), point("b", accuracy=0.8)]
    on_a = Current(release_number=1, point_key=points[0].key)
    stays = decide(points, current=on_a, disk_free_bytes=10)
    assert stays.chosen.key == points[0].key
    assert "disk is not counted again" in verdict(stays, points[0].key).text
    assert [f.constraint for f in verdict(stays, points[1].key).failures] == ["disk"]
    before = Current(release_number=7, point_key=points[0].key)
    assert decide(points, current=before, disk_free_bytes=10).chosen is None


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"cap_mb": 60}, "memory"),
        ({"policy": PolicyBody(accuracy_floor=0.95)}, "accuracy_floor"),
        ({"providers": ["CUDAExecutionProvider"]}, "runtime"),
        (
            {"seen": [Observation(point_key=point("a").key, failed_permanently=True)]},
            "failed_on_this_device",
        ),
    ],
)
def test_whatever_else_a_box_lacks_still_takes_it_off_its_point(changes, constraint):
    on_a = Current(release_number=1, point_key=point("a").key)
    decision = decide([point("a")], current=on_a, disk_free_bytes=10, **changes)
    assert decision.chosen is None
    assert [f.constraint for f in decision.verdicts[0].failures] == [constraint]


def test_a_boxs_own_peak_replaces_the_labs():
    saw = Observation(point_key=LARGE_HEAD, peak_bytes=900 * MB)
    decision = decide(seen=[saw])
    assert decision.chosen.key == SMALL_STEM
    assert verdict(decision, LARGE_HEAD).peak_bytes == 900 * MB


def test_what_failed_or_disappointed_on_this_box_is_not_chosen_again():
    failed = Observation(point_key=LARGE_HEAD, failed_permanently=True)
    low = Observation(point_key=LARGE_HEAD, balanced_accuracy=0.3)
    for saw in (failed, low):
        assert decide(seen=[saw]).chosen.key == SMALL_STEM


@pytest.mark.parametrize(
    ("fallback", "images_may_leave", "action"),
    [
        ("nothing_fits", True, "cloud"),
        ("on_failure", True, "cloud"),
        ("never", True, "idle"),
        ("nothing_fits", False, "idle"),
    ],
)
def test_without_a_fitting_point_the_policy_says_cloud_or_idle(fallback, images_may_leave, action):
    policy = PolicyBody(fallback=fallback, images_may_leave=images_may_leave)
    assert decide(cap_mb=60, policy=policy).action == action


def test_a_running_box_does_not_switch_for_less_than_the_margin():
    points = [point("a", accuracy=0.90, seconds=9), point("b", accuracy=0.905, seconds=9)]
    on_a = Current(release_number=1, point_key=points[0].key)
    policy = PolicyBody(hysteresis=0.01, accuracy_step=0.001)
    assert decide(points, policy=policy).chosen.variant == "b"
    stays = decide(points, policy=policy, current=on_a)
    assert stays.chosen.variant == "a"
    assert "stays on it" in stays.why
    eager = PolicyBody(hysteresis=0.001, accuracy_step=0.001)
    assert decide(points, policy=eager, current=on_a).chosen.variant == "b"


def test_a_running_box_switches_when_its_point_no_longer_fits_or_the_release_is_new():
    points = [point("a", accuracy=0.90, workload_mb=200), point("b", accuracy=0.9, seconds=99)]
    on_a = Current(release_number=1, point_key=points[0].key)
    assert decide(points, cap_mb=200, current=on_a).chosen.variant == "b"
    before = Current(release_number=7, point_key=points[1].key)
    assert decide(points, current=before).chosen.variant == "a"


def test_a_box_does_not_leave_for_a_second_best_because_the_best_has_no_room_any_more():
    """The best would not gain more than the margin, the second best would."""
    points = [
        point("a", accuracy=0.70, latency_ms=3),
        point("c", accuracy=0.705, latency_ms=1, workload_mb=100),
        point("b", accuracy=0.90, latency_ms=2),
    ]
    policy = PolicyBody(objective=("min_latency",), hysteresis=0.01)
    on_a = Current(release_number=1, point_key=points[0].key)
    for free_bytes in (9000 * MB, 100 * MB):
        left = decide(points, policy=policy, current=on_a, disk_free_bytes=free_bytes)
        assert left.chosen.variant == "b"
    roomy = decide(points, policy=policy, current=on_a)
    assert "first by 'min latency' of those that gain more than 1.0 % accuracy" in roomy.why
    assert "would not gain more than 1.0 %" in verdict(roomy, points[1].key).text


def test_a_box_does_not_leave_for_a_point_that_only_its_name_puts_first():
    points = [
        point("a", accuracy=0.85, latency_ms=5, workload_mb=100),
        point("b", accuracy=0.50, latency_ms=1, workload_mb=100),
        point("c", accuracy=0.90, latency_ms=5, workload_mb=100),
    ]
    policy = PolicyBody(objective=("max_accuracy",), accuracy_step=0.5)
    on_b = Current(release_number=1, point_key=points[1].key)
    for free_bytes in (9000 * MB, 100 * MB):
        stays = decide(points, policy=policy, current=on_b, disk_free_bytes=free_bytes)
        assert stays.chosen.variant == "b"
    assert "no better by the policy's objective" in verdict(stays, points[0].key).text
    assert stays.why.endswith("first by 'max accuracy' of 2 points that fit, of 3.")


def test_a_box_leaves_for_a_point_that_beats_its_own_in_everything():
    points = [point("a", accuracy=0.6), point("b", accuracy=0.9)]
    policy = PolicyBody(objective=("min_latency",))
    on_a = Current(release_number=1, point_key=points[0].key)
    assert decide(points, policy=policy, current=on_a).chosen.variant == "b"


def test_a_better_point_that_gains_too_little_is_not_said_to_come_later():
    points = [point("a", accuracy=0.90), point("b", accuracy=0.905, latency_ms=3)]
    on_a = Current(release_number=1, point_key=points[0].key)
    stays = decide(points, current=on_a)
    assert stays.chosen.variant == "a"
    assert verdict(stays, points[1].key).text == (
        "fits, but would not gain more than 1.0 % accuracy over the box's own point"
    )


def test_accuracies_within_a_step_are_equal_and_the_next_word_decides():
    points = [
        point("a", accuracy=0.9049, seconds=50),
        point("b", accuracy=0.9001, seconds=5),
    ]
    assert decide(points).chosen.variant == "b"
    fine = PolicyBody(accuracy_step=0.0001)
    assert decide(points, policy=fine).chosen.variant == "a"


def test_a_tie_is_broken_by_name():
    assert decide([point("b"), point("a")]).chosen.variant == "a"


def test_a_dominated_point_names_what_dominates_it():
    points = [point("a", accuracy=0.9), point("b", accuracy=0.8)]
    decision = decide(points)
    assert verdict(decision, points[1].key).dominated_by == points[0].key


VARIANTS = ("a", "b", "c")
POINTS = st.builds(
    point,
    st.sampled_from(VARIANTS),
    cut=st.sampled_from(["head", "stem"]),
    micro_batch=st.sampled_from([1, 2, 4, 8]),
    accuracy=st.none() | st.integers(40, 100).map(lambda n: n / 100),
    workload_mb=st.integers(1, 400),
    seconds=st.integers(1, 5),
    latency_ms=st.integers(1, 5),
    artifact_mb=st.none() | st.integers(1, 3),
)
RELEASE_POINTS = st.lists(POINTS, min_size=1, max_size=12, unique_by=lambda p: p.key)
POLICIES = st.builds(
    PolicyBody,
    accuracy_floor=st.sampled_from([0.0, 0.5, 0.8]),
    objective=st.permutations(OBJECTIVES).flatmap(
        lambda order: st.integers(1, 5).map(lambda n: tuple(order[:n]))
    ),
    accuracy_step=st.sampled_from([0.001, 0.02, 0.5]),
    max_latency_ms=st.none() | st.just(3.0),
)
CAPS = st.integers(60, 500)
FREE = st.integers(0, 300).map(lambda n: n * MB)
N_IMAGES = profile()["n_ok"] + profile()["n_defect"]
relaxed = settings(max_examples=60, deadline=None)


def fitting(decision):
    return {v.point_key for v in decision.verdicts if not v.failures}


def cost_of(chosen):
    box = DeviceProfile.model_validate(profile())
    return costs(chosen, predicted_peak_bytes(chosen, box, None))


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS)
def test_the_choice_fits_and_nothing_that_fits_dominates_it(points, policy, cap_mb):
    decision = decide(points, policy=policy, cap_mb=cap_mb)
    assert (decision.chosen is not None) == bool(fitting(decision))
    if decision.chosen is None:
        return
    assert decision.chosen.key in fitting(decision)
    assert [v.point_key for v in decision.verdicts if v.chosen] == [decision.chosen.key]
    others = [cost_of(p) for p in points if p.key in fitting(decision)]
    assert not any(dominates(other, cost_of(decision.chosen)) for other in others)


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, POINTS)
def test_a_point_that_does_not_fit_or_is_dominated_changes_nothing(points, policy, cap_mb, extra):
    if extra.key in {p.key for p in points}:
        return
    with_extra = decide([*points, extra], policy=policy, cap_mb=cap_mb)
    found = verdict(with_extra, extra.key)
    if found.failures or found.dominated_by:
        without = decide(points, policy=policy, cap_mb=cap_mb)
        assert without.chosen == with_extra.chosen


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, st.integers(0, 300))
def test_more_memory_never_gives_a_worse_choice(points, policy, cap_mb, more_mb):
    less = decide(points, policy=policy, cap_mb=cap_mb).chosen
    more = decide(points, policy=policy, cap_mb=cap_mb + more_mb).chosen
    if less is None:
        return
    assert more is not None
    assert rank(more, policy) <= rank(less, policy)


def rank(chosen, policy):
    box = DeviceProfile.model_validate(profile())
    peak = predicted_peak_bytes(chosen, box, None)
    candidate = Candidate(point=chosen, peak_bytes=peak, costs=None, failures=())
    return objective_key(candidate, policy)


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, FREE, FREE, st.data())
def test_less_free_disk_never_takes_a_box_off_its_point(points, policy, cap_mb, free, more, data):
    on_it = Current(release_number=1, point_key=data.draw(st.sampled_from(points)).key)
    given = {"policy": policy, "cap_mb": cap_mb, "current": on_it}
    before = decide(points, **given, disk_free_bytes=free + more).chosen
    if before is None or before.key != on_it.point_key:
        return
    assert decide(points, **given, disk_free_bytes=free).chosen == before


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, FREE)
def test_a_box_stays_on_what_was_chosen_for_it_whatever_its_disk(points, policy, cap_mb, free):
    chosen = decide(points, policy=policy, cap_mb=cap_mb).chosen
    if chosen is None:
        return
    on_it = Current(release_number=1, point_key=chosen.key)
    later = decide(points, policy=policy, cap_mb=cap_mb, current=on_it, disk_free_bytes=free)
    assert later.chosen == chosen


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, FREE, st.data())
def test_any_other_point_is_refused_for_want_of_disk(points, policy, cap_mb, free, data):
    mine = data.draw(st.sampled_from(points)).key
    on_it = Current(release_number=1, point_key=mine)
    decision = decide(points, policy=policy, cap_mb=cap_mb, current=on_it, disk_free_bytes=free)
    for one in points:
        short = disk_need_bytes(one, made(points), N_IMAGES) > free
        failed = {f.constraint for f in verdict(decision, one.key).failures}
        assert ("disk" in failed) == (short and one.key != mine)


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, st.data())
def test_a_box_leaves_a_fitting_point_only_for_more_accuracy(points, policy, cap_mb, data):
    mine = data.draw(st.sampled_from(points))
    on_it = Current(release_number=1, point_key=mine.key)
    decision = decide(points, policy=policy, cap_mb=cap_mb, current=on_it)
    if mine.key not in fitting(decision) or decision.chosen.key == mine.key:
        return
    assert decision.chosen.accuracy_lower - mine.accuracy_lower > policy.hysteresis
    assert rank(decision.chosen, policy) <= rank(mine, policy)
    there = Current(release_number=1, point_key=decision.chosen.key)
    assert decide(points, policy=policy, cap_mb=cap_mb, current=there).chosen == decision.chosen


@relaxed
@given(RELEASE_POINTS, POLICIES, CAPS, st.randoms())
def test_the_order_of_the_points_does_not_matter(points, policy, cap_mb, random):
    shuffled = list(points)
    random.shuffle(shuffled)
    one = decide(points, policy=policy, cap_mb=cap_mb)
    other = decide(shuffled, policy=policy, cap_mb=cap_mb)
    assert (one.chosen, one.why, one.next_better) == (other.chosen, other.why, other.next_better)
