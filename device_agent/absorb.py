"""What a new answer of the server means for the work under way. Pure."""

from collections.abc import Callable

from contract.desired import Assignment, DesiredState
from device_agent.errors import NonsenseError
from device_agent.shelf import Manifest
from device_agent.state import WORKING, BoxState, Event, advance


def same_work(one: Assignment | None, other: Assignment | None) -> bool:
    """Return whether both ask to train the same files by the same plan."""
    if one is None or other is None:
        return one is other
    return one.point.key == other.point.key and one.variant == other.variant


def absorb(
    state: BoxState,
    desired: DesiredState,
    etag: str | None,
    active: Manifest | None,
    new_task: Callable[[], str],
) -> BoxState:
    """Return the state that takes ``desired`` in; raises NonsenseError.

    Work under way goes on when only its circumstances changed; a model that already is what is
    asked for stays active; everything else begins a new task.
    """
    if (desired.action == "train") != (desired.assignment is not None):
        raise NonsenseError("the poll", f"action {desired.action} does not match its assignment")
    told = {"desired": desired, "etag": etag}
    before = state.desired.assignment if state.desired else None
    if (
        desired.action == "train"
        and state.step in WORKING
        and same_work(before, desired.assignment)
    ):
        return state.model_copy(update=told)
    fresh: dict[str, object] = {
        "task_id": new_task(), "starts": 0, "attempts": 0, "result": None, "data_key": None,
    }  # fmt: skip
    return advance(state, _event(desired, active), **told, **fresh)


def _event(desired: DesiredState, active: Manifest | None) -> Event:
    if desired.action == "cloud":
        return "told_cloud"
    if desired.action == "idle":
        return "told_idle"
    return "kept_active" if _is_active(desired, active) else "told_train"


def _is_active(desired: DesiredState, active: Manifest | None) -> bool:
    assignment = desired.assignment
    if assignment is None or active is None:
        return False
    wanted = {a.sha256 for a in assignment.variant.artifacts_for(assignment.point.plan.scope.cut)}
    return (
        active.release_number == desired.release_number
        and active.point_key == assignment.point.key
        and set(active.artifacts) == wanted
        and active.balanced_accuracy >= desired.accuracy_floor
    )
