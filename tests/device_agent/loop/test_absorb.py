"""What new orders do to a box that was rolled back, and to every other."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.desired import DesiredState
from device_agent.loop.absorb import absorb, stays_rolled_back, undone
from device_agent.loop.state import WORKING, BoxState, Rollback
from tests.device_agent.fleet import FleetSim, point

HELD = Rollback(request_id="r", left="b", model_id="a", reason="it was worse")


def orders(**changes: object) -> DesiredState:
    return FleetSim().current().model_copy(update=changes)


def with_budget(budget_bytes: int, **changes: object) -> DesiredState:
    desired = orders(**changes)
    assignment = desired.assignment.model_copy(update={"budget_bytes": budget_bytes})
    return desired.model_copy(update={"assignment": assignment})


def rolled_back(**changes: object) -> BoxState:
    facts = {"step": "rolled_back", "desired": orders(), "rollback": HELD, "task_id": "t"}
    return BoxState().model_copy(update=facts | changes)


def told(state: BoxState, desired: DesiredState) -> BoxState:
    return absorb(state, desired, "tag", None, lambda: "new")


def test_the_same_orders_again_train_nothing():
    state = told(rolled_back(), orders())

    assert (state.step, state.task_id, state.rollback) == ("rolled_back", "t", HELD)
    assert state.etag == "tag"


def test_a_new_generation_is_a_new_order():
    state = told(rolled_back(), orders(generation=2))

    assert (state.step, state.task_id, state.rollback) == ("assigned", "new", None)


@pytest.mark.parametrize(
    "desired",
    [
        FleetSim(points=[point("xcep-other")]).current(),
        FleetSim(action="cloud").current(),
        FleetSim(floor=0.9, generation=2).current(),
    ],
)
def test_other_work_ends_the_rollback(desired):
    assert told(rolled_back(), desired).step != "rolled_back"


def test_an_echo_of_the_box_s_own_memory_is_no_new_order():
    echo = with_budget(300_000_000, generation=2, decision_id="d2", why="less memory is free")
    state = told(rolled_back(), echo)

    assert state.step == "rolled_back"
    assert state.desired == echo
    assert told(state, orders(generation=3, accuracy_floor=0.9)).step == "assigned"
    assert told(state, with_budget(200_000_000, generation=3, accuracy_floor=0.9)).step != (
        "rolled_back"
    )


@settings(deadline=None)
@given(st.integers(1, 9), st.sampled_from([None, HELD]), st.sampled_from([*WORKING, "active"]))
def test_only_a_box_that_was_rolled_back_is_held(generation, rollback, step):
    state = rolled_back(step=step, rollback=rollback)

    assert not stays_rolled_back(state, orders(generation=generation))


def test_undoing_takes_up_the_task_that_was_cut_short():
    cut_short = rolled_back(rollback=HELD.model_copy(update={"was_working": True}), starts=3)
    state = undone(cut_short, None, lambda: "new")

    assert (state.step, state.task_id, state.starts) == ("assigned", "t", 3)
    assert state.rollback is None


def test_undoing_on_a_box_with_no_task_begins_one():
    state = undone(rolled_back(), None, lambda: "new")

    assert (state.step, state.task_id) == ("assigned", "new")


def test_undoing_twice_changes_nothing_more():
    once = undone(rolled_back(), None, lambda: "new")

    assert undone(once, None, lambda: "newer") == once
