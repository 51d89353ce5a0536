"""Drift by confidence, and thresholds that follow it."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.rules import BoxRules
from device_agent.cloud.calibrate import calibrate
from device_agent.cloud.confidence_drift import (
    WINDOW,
    drift_of,
    edges_of,
    like_live,
    recalibrate,
    shares,
)
from device_agent.stability import UNLIKE

CONFIDENCES = st.lists(st.floats(0.5, 1.0), min_size=1, max_size=300)
patient = settings(deadline=None)
RISK, SHARE = BoxRules(max_risk=0.1), BoxRules(max_offload=0.2)


def draw(random: Random, n: int, power: float = 1.0) -> list[float]:
    """Return confidences; with a larger power, less sure ones."""
    return [0.5 + 0.5 * random.random() ** power for _ in range(n)]


def answered(random: Random, confidences: list[float]) -> list[tuple[float, bool]]:
    """Return answers that are right as often as they are sure."""
    return [(c, random.random() < 2 * c - 1) for c in confidences]


@pytest.fixture
def random() -> Random:
    return Random(11)  # noqa: S311 - a simulation


@pytest.mark.parametrize("n_held", [40, 100, 400])
def test_images_like_the_held_back_ones_raise_no_alarm(random, n_held):
    alarms = [drift_of(draw(random, n_held), draw(random, WINDOW)) > UNLIKE for _ in range(300)]

    assert sum(alarms) <= 3


@pytest.mark.parametrize(("n_held", "least"), [(40, 70), (100, 95), (400, 100)])
def test_images_that_the_model_is_less_sure_of_do(random, n_held, least):
    alarms = [
        drift_of(draw(random, n_held), draw(random, WINDOW, 3.0)) > UNLIKE for _ in range(100)
    ]

    assert sum(alarms) >= least


def test_a_window_that_is_not_full_says_nothing(random):
    assert drift_of(draw(random, 100), draw(random, WINDOW - 1)) is None
    assert drift_of(draw(random, 20), draw(random, WINDOW)) is None


def test_confidences_that_are_all_equal_say_nothing(random):
    assert drift_of([1.0] * 200, draw(random, WINDOW)) is None


@patient
@given(CONFIDENCES, CONFIDENCES)
def test_shares_are_never_nothing_and_sum_to_one(held, live):
    found = shares(live, edges_of(held))

    assert sum(found) == pytest.approx(1)
    assert min(found) > 0
    assert len(found) <= 10


@patient
@given(CONFIDENCES)
def test_every_bin_holds_held_back_images(held):
    edges = edges_of(held)
    unsmoothed = [
        share * (len(held) + 0.5 * (len(edges) + 1)) - 0.5 for share in shares(held, edges)
    ]

    assert all(count > 0.9 for count in unsmoothed)


@patient
@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans()), max_size=150), CONFIDENCES)
def test_a_drawn_tally_never_counts_more_than_there_is(held, live):
    tally = like_live(held, held, live)
    for threshold in (0.0, 0.6, 0.9, 1.0):
        kept, wrong = tally(threshold)
        above = [right for confidence, right in held if confidence >= threshold]
        assert wrong <= kept <= len(above)
        assert wrong <= above.count(False)
        assert tally(threshold) == (kept, wrong)


def test_images_that_look_as_before_leave_the_threshold_nearly_as_it_was(random):
    held = answered(random, draw(random, 2000, 0.2))
    live = [confidence for confidence, _ in held][:1000]

    plain, again = calibrate(held, held, RISK), recalibrate(held, held, live, RISK)

    assert again.threshold == pytest.approx(plain.threshold, abs=0.03)


def test_under_drift_the_promise_holds_for_the_live_images_where_the_old_threshold_breaks_it():
    broken_old = broken_new = 0
    for seed in range(40):
        random = Random(seed)  # noqa: S311 - a simulation
        held, guide = (answered(random, draw(random, 400, 0.08)) for _ in range(2))
        live, later = draw(random, 600), draw(random, 4000)

        def risk(threshold: float | None, images: list[float] = later) -> float:
            kept = [2 - 2 * c for c in images if threshold is not None and c >= threshold]
            return sum(kept) / len(kept) if kept else 0.0

        broken_old += risk(calibrate(guide, held, RISK).threshold) > RISK.max_risk
        broken_new += risk(recalibrate(guide, held, live, RISK).threshold) > RISK.max_risk

    assert broken_old > 20
    assert broken_new <= 5


def test_where_hardly_any_held_back_image_looks_like_the_live_ones_everything_is_sent(random):
    held = answered(random, [0.6] * 3 + [0.9] * 100)

    assert recalibrate(held, held, [0.62] * WINDOW, RISK).threshold is None


def test_a_share_is_kept_by_the_live_confidences_themselves(random):
    held = answered(random, draw(random, 300))
    live = draw(random, 500, 3.0)
    plain, again = calibrate(held, held, SHARE), recalibrate(held, held, live, SHARE)

    assert sum(c < plain.threshold for c in live) > 0.2 * len(live)
    assert sum(c < again.threshold for c in live) <= 0.2 * len(live)
    assert (again.n, again.kept_share) == (500, sum(c >= again.threshold for c in live) / 500)
