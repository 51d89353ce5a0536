"""What a new answer of the server means for the work under way. Pure."""

from collections.abc import Callable

from contract.desired import Assignment, DesiredState
from device_agent.disk.shelf import Manifest
from device_agent.errors import NonsenseError
from device_agent.loop.state import WORKING, BoxState, Event, advance


def same_work(one: Assignment | None, other: Assignment | None) -> bool:
    """Return whether both ask to train the same files by the same plan."""
    if one is None or other is None:
        return one is other
    return one.point.key == other.point.key and one.variant == other.variant


def stays_rolled_back(state: BoxState, desired: DesiredState) -> bool:
    """Return whether ``desired`` is what the box was rolled back under.

    A new generation is a new order, unless all that it changes is the budget: that is this box's
    own memory coming back as an echo, and must not bring back a model that was set aside.
    """
    if state.step != "rolled_back" or state.rollback is None or state.desired is None:
        return False
    known = state.desired
    if not same_work(known.assignment, desired.assignment) or known.action != desired.action:
        return False
    return known.generation == desired.generation or _only_the_budget_moved(known, desired)


def _only_the_budget_moved(known: DesiredState, desired: DesiredState) -> bool:
    before, after = known.assignment, desired.assignment
    if before is None or after is None or before.budget_bytes == after.budget_bytes:
        return False
    circumstances = {"generation", "decision_id", "assignment", "why", "next_better"}
    return known.model_dump(exclude=circumstances) == desired.model_dump(exclude=circumstances)


def absorb(
    state: BoxState,
    desired: DesiredState,
    etag: str | None,
    active: Manifest | None,
    new_task: Callable[[], str],
) -> BoxState:
    """Return the state that takes ``desired`` in; raises NonsenseError.

    Work under way goes on when only its circumstances changed; a model that already is what is
    asked for stays active; a box that was rolled back stays so until the orders change;
    everything else begins a new task.
    """
    if (desired.action == "train") != (desired.assignment is not None):
        raise NonsenseError("the poll", f"action {desired.action} does not match its assignment")
    told = {"desired": desired, "etag": etag}
    before = state.desired.assignment if state.desired else None
    goes_on = (
        desired.action == "train"
        and state.step in WORKING
        and same_work(before, desired.assignment)
    )
    if goes_on or stays_rolled_back(state, desired):
        return state.model_copy(update=told)
    return advance(state, _event(desired, active), **told, **fresh_task(new_task()))


def undone(state: BoxState, active: Manifest | None, new_task: Callable[[], str]) -> BoxState:
    """Return the state after a rollback was taken back and ``active`` is the model again.

    A task that the rollback cut short keeps its name: its downloads, checkpoint and result count.
    """
    freed = state.model_copy(update={"rollback": None})
    if state.desired is None or state.rollback is None:
        return freed
    event = _event(state.desired, active)
    if event == "told_train" and state.rollback.was_working:
        return advance(freed, event)
    return advance(freed, event, **fresh_task(new_task()))


def fresh_task(task_id: str) -> dict[str, object]:
    """Return the fields of a task of which nothing is done yet."""
    return {
        "task_id": task_id, "starts": 0, "attempts": 0, "result": None, "data_key": None,
        "micro_batch": None, "rollback": None, "retraining": None, "put_off": None,
    }  # fmt: skip


def _event(desired: DesiredState, active: Manifest | None) -> Event:
    if desired.action == "cloud":
        return "told_cloud"
    if desired.action == "idle":
        return "told_idle"
    return "kept_active" if _is_active(desired, active) else "told_train"


def _is_active(desired: DesiredState, active: Manifest | None) -> bool:
    """Return whether ``active`` is what is asked for; one of unknown accuracy meets no floor."""
    assignment = desired.assignment
    if assignment is None or active is None or active.balanced_accuracy is None:
        return False
    wanted = {a.sha256 for a in assignment.variant.artifacts_for(assignment.point.plan.scope.cut)}
    return (
        active.release_number == desired.release_number
        and active.point_key == assignment.point.key
        and set(active.artifacts) == wanted
        and active.balanced_accuracy >= desired.accuracy_floor
    )
