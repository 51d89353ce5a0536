"""The micro-batch that a box takes by itself."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from contract.plan import Plan, Scope
from device_agent.loop.ladder import Rung, rung_in_use

MOST_RUNGS = 10


def plan(batch: int, micro_batch: int) -> Plan:
    return Plan(
        scope=Scope(cut="head"), input_px=64, batch=batch, micro_batch=micro_batch, epochs=1,
        optimiser="adam", learning_rate=0.001,
    )  # fmt: skip


@st.composite
def plans(draw):
    batch = draw(st.integers(1, 1024))
    divisors = [n for n in range(1, batch + 1) if batch % n == 0]
    return plan(batch, draw(st.sampled_from(divisors)))


def sizes(rung: Rung) -> list[int]:
    return [lower.micro_batch for lower in rung.below()]


def test_powers_of_two_are_halved_down_to_one():
    assert sizes(rung_in_use(plan(32, 16), None)) == [8, 4, 2, 1]


def test_a_size_that_does_not_halve_takes_the_next_divisor():
    assert sizes(rung_in_use(plan(30, 15), None)) == [6, 3, 1]
    assert sizes(rung_in_use(plan(7, 7), None)) == [1]


def test_one_image_is_the_end():
    assert sizes(rung_in_use(plan(8, 1), None)) == []


@given(plans())
def test_every_rung_divides_the_batch_and_at_least_halves(given_plan):
    rung = rung_in_use(given_plan, None)
    seen = [rung.micro_batch, *sizes(rung)]

    assert all(given_plan.batch % size == 0 for size in seen)
    assert all(2 * lower <= upper for upper, lower in pairwise(seen))
    assert seen[-1] == 1
    assert len(seen) <= MOST_RUNGS + 1


@given(plans(), st.integers(-3, 2000))
def test_only_a_smaller_divisor_is_remembered(given_plan, remembered):
    rung = rung_in_use(given_plan, remembered)

    believed = 1 <= remembered <= given_plan.micro_batch and given_plan.batch % remembered == 0
    assert rung.micro_batch == (remembered if believed else given_plan.micro_batch)
    assert (rung.stepped_to is None) == (rung.micro_batch == given_plan.micro_batch)


@given(plans(), st.data())
def test_going_on_from_a_remembered_rung_walks_the_same_ladder(given_plan, data):
    whole = [given_plan.micro_batch, *sizes(rung_in_use(given_plan, None))]
    at = data.draw(st.sampled_from(whole))

    assert sizes(rung_in_use(given_plan, at)) == whole[whole.index(at) + 1 :]


@given(plans(), st.integers(0, 10**10), st.integers(0, 10**8))
def test_the_least_a_rung_takes_is_never_more_than_what_it_takes(given_plan, fixed, each):
    """For every fixed part and every part for each image."""
    rung = rung_in_use(given_plan, None)
    planned_bytes = fixed + each * rung.planned

    assert rung.least_bytes(planned_bytes) == planned_bytes
    for lower in rung.below():
        assert lower.least_bytes(planned_bytes) <= fixed + each * lower.micro_batch
