import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.plan import Plan, Scope
from tests.models.points import plan


@given(st.integers(1, 64), st.integers(1, 16))
def test_a_batch_may_be_made_of_whole_micro_batches(micro_batch, times):
    made = plan(batch=micro_batch * times, micro_batch=micro_batch)

    assert made.batch // made.micro_batch == times


@given(st.integers(1, 64), st.integers(2, 64))
def test_a_batch_with_a_part_of_a_micro_batch_is_refused(batch, micro_batch):
    assume(batch % micro_batch)

    with pytest.raises(ValidationError, match="multiple of micro_batch"):
        plan(batch=batch, micro_batch=micro_batch)


@pytest.mark.parametrize(
    "changes",
    [
        {"input_px": 31},
        {"input_px": 513},
        {"batch": 0, "micro_batch": 1},
        {"batch": 1025, "micro_batch": 1025},
        {"micro_batch": 0},
        {"epochs": 0},
        {"epochs": 1001},
        {"optimiser": "lion"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": 11.0},
        {"precision": "float16"},
        {"scope": {"cut": "../stem"}},
        {"scope": {"cut": ""}},
    ],
)
def test_a_plan_out_of_bounds_is_refused(changes):
    with pytest.raises(ValidationError):
        plan(**changes)


@pytest.mark.parametrize(
    ("cut", "title"), [("stem", "full"), ("head", "head"), ("middle3", "from middle3")]
)
def test_a_scope_reads_as_people_say_it(cut, title):
    assert Scope(cut=cut).title == title
    assert plan(cut).title == f"{title} 64px b32/8"


def test_a_plan_survives_json():
    made = plan(recompute=True)

    assert Plan.model_validate_json(made.model_dump_json()) == made
