import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contract.base import LABEL_LENGTH, Label
from contract.measurement import FrontierPoint
from contract.plan import Plan
from tests.models.points import plan, point

OTHER_PLANS = {
    "scope": {"cut": "exit"},
    "input_px": 96,
    "batch": 64,
    "micro_batch": 16,
    "epochs": 4,
    "optimiser": "sgd",
    "learning_rate": 2e-3,
    "recompute": True,
}
ONLY_ONE_VALUE = {"precision"}
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,79}", fullmatch=True)
plans = st.builds(
    lambda micro, times, **fields: Plan(batch=micro * times, micro_batch=micro, **fields),
    st.sampled_from([1, 8]),
    st.sampled_from([1, 4]),
    scope=st.builds(dict, cut=st.sampled_from(["head", "stem"])),
    input_px=st.sampled_from([64, 96]),
    epochs=st.sampled_from([1, 10]),
    optimiser=st.sampled_from(["sgd", "adam"]),
    learning_rate=st.sampled_from([1e-3, 1e-4]),
    recompute=st.booleans(),
)


@pytest.mark.parametrize("field", OTHER_PLANS)
def test_plans_that_differ_in_one_field_have_different_keys(field):
    other = point(plan=plan(**{field: OTHER_PLANS[field]}))

    assert other.key != point().key


def test_no_field_of_a_plan_is_left_out_of_that_check():
    assert set(OTHER_PLANS) | ONLY_ONE_VALUE == set(Plan.model_fields)


@given(plans, plans)
def test_two_points_share_a_key_exactly_when_their_plans_are_equal(one, other):
    same = point(plan=one).key == point(plan=other).key

    assert same == (one == other)


@pytest.mark.parametrize("changes", [{"variant": "b"}, {"task": "other"}])
def test_variant_and_task_are_in_the_key(changes):
    assert point(**changes).key != point().key


def test_the_key_does_not_depend_on_what_was_measured():
    assert point(accuracy_mean=0.1, latency_ms=None).key == point().key


@given(names, names, names)
def test_the_key_of_the_longest_names_still_fits_the_column(variant, cut, task):
    key = point(variant=variant, plan=plan(cut), task=task).key

    assert len(key) <= LABEL_LENGTH
    assert TypeAdapter(Label).validate_python(key) == key


def test_long_names_that_differ_only_in_their_ends_have_different_keys():
    first, second = (point(variant="v" * 80, plan=plan("c" * 80), task=t) for t in ("a", "b"))

    assert first.key != second.key


def test_the_key_reads_like_the_plan():
    assert point().key.startswith("a/head/64px-b32-m8-adam-e3/pcb-adapt-")


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy_lower": -0.1},
        {"accuracy_mean": 1.01},
        {"accuracy_before": float("nan")},
        {"latency_ms": float("inf")},
        {"train_seconds": -1.0},
        {"peak_workload_bytes": -1},
        {"peak_workload_bytes": 1.5},
        {"artifact_bytes": 2**63},
        {"variant": "../../etc"},
    ],
)
def test_a_figure_out_of_bounds_is_refused(changes):
    with pytest.raises(ValidationError):
        point(**changes)


def test_a_figure_may_be_missing_but_must_be_said_to_be():
    said = point(latency_ms=None)
    silent = {k: v for k, v in said.model_dump().items() if k != "latency_ms"}

    assert said.latency_ms is None
    with pytest.raises(ValidationError, match="latency_ms"):
        FrontierPoint.model_validate(silent)
