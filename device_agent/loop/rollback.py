"""Going back to an older model, and undoing that: asked for by a person or by failing predictions.

Needs no network. Asking writes a request (``disk.rollback_request``), which takes effect with the
next prediction; obeying enters it into links, state and reports. Obeying may be cut short and
done again: every part of it is idempotent and the request goes last.
"""

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from contract.report import EventBody, OutcomeBody, ReportBody
from device_agent.disk.paths import StatePaths, lock_state
from device_agent.disk.rollback_request import (
    Goal,
    RollbackRequest,
    drop_request,
    has_request,
    read_request,
    write_request,
)
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.errors import AgentError, ArtifactError, NothingToRollBackError, StateError
from device_agent.loop.absorb import undone
from device_agent.loop.box import printable, report_key
from device_agent.loop.state import TABLE, WORKING, BoxState, Rollback, StateStore, advance
from device_agent.loop.steps import still_active
from device_agent.server.outbox import Outbox

log = structlog.get_logger()
FAILURES_BEFORE_ROLLBACK = 3
_NAMESPACE = uuid.UUID("0f6a2b61-2f0a-4b57-8a0e-7a9d3c4b1e55")


def ask(paths: StatePaths, goal: Goal, reason: str) -> RollbackRequest:
    """Ask for another model; it serves from now on. Raises NothingToRollBackError.

    Asking twice for the same is one request.
    """
    shelf, known = Shelf(paths), read_request(paths)
    model_id = _target(shelf, goal, known)
    if known is not None and (known.goal, known.model_id) == (goal, model_id):
        return known
    request = RollbackRequest(
        request_id=str(uuid.uuid4()), goal=goal, model_id=model_id, reason=printable(reason)[:1000]
    )
    _require_whole(shelf, model_id)
    write_request(paths, request)
    try:
        _require_whole(shelf, model_id)
    except NothingToRollBackError:
        drop_request(paths, request)
        raise
    return request


def _target(shelf: Shelf, goal: Goal, pending: RollbackRequest | None) -> str:
    """Return the model to serve. A rollback not yet obeyed is undone by asking for the active."""
    known = {
        "previous": shelf.previous_id(),
        "factory": shelf.factory_id(),
        "undo": shelf.rolled_back_id() or (shelf.active_id() if pending else None),
    }
    model_id = known[goal]
    if model_id is None:
        raise NothingToRollBackError(_NOTHING[goal])
    if model_id == shelf.active_id() and pending is None:
        message = f"{model_id} is active already"
        raise NothingToRollBackError(message)
    return model_id


_NOTHING: dict[Goal, str] = {
    "previous": "no earlier model is kept on this box; try --to factory",
    "factory": "this box has no factory model; install one with `device_agent factory`",
    "undo": "no rollback is there to undo",
}


def _require_whole(shelf: Shelf, model_id: str) -> None:
    try:
        shelf.verified(model_id)
    except ArtifactError as exc:
        message = f"{exc}; the active model stays"
        raise NothingToRollBackError(message) from exc


def after_failures(paths: StatePaths, model_id: str, failures: int, why: str) -> None:
    """Ask to go back when the active model has failed several times in a row. Never raises."""
    shelf = Shelf(paths)
    if failures < FAILURES_BEFORE_ROLLBACK or model_id != shelf.active_id() or has_request(paths):
        return
    reason = f"{model_id} failed {failures} times in a row; the last time: {why}"
    goals: tuple[Goal, ...] = ("previous", "factory")
    for goal in goals:
        try:
            request = ask(paths, goal, reason)
        except AgentError as exc:
            log.warning("no_rollback", goal=goal, reason=str(exc))
        else:
            log.error("rolling_back", left=model_id, model_id=request.model_id, reason=why[:300])
            return


@dataclass(frozen=True)
class Obeyed:
    """The state to save, after the reports (by name) are kept."""

    state: BoxState
    reports: tuple[tuple[str, ReportBody], ...]


def obey(request: RollbackRequest, state: BoxState, shelf: Shelf) -> Obeyed:
    """Switch the links to what was asked for and return what that makes of the state."""
    if state.rollback is not None and state.rollback.request_id == request.request_id:
        return Obeyed(state, ())
    name = f"rollback/{request.request_id}"
    if not shelf.is_whole(request.model_id):
        text = f"the rollback to {request.model_id} was not possible: the model is damaged or gone"
        return Obeyed(state, ((name, EventBody(name="rollback_failed", fields={"text": text})),))
    if request.goal == "undo":
        return _undo(request, state, shelf, name)
    shelf.go_back(request.model_id)
    log.warning("rolled_back", model_id=request.model_id, reason=request.reason)
    outcome = _outcome(state, shelf, request)
    held = state.model_copy(update={"outcome": outcome})
    if "rolled_back" in TABLE[state.step]:
        held = advance(held, "rolled_back", rollback=_hold(state, shelf, request))
    return Obeyed(held, ((name, outcome),))


def settle(paths: StatePaths, outbox_bytes: int) -> bool:
    """Obey what was asked for at once; False where a running agent holds the lock and will."""
    try:
        lock = lock_state(paths)
    except StateError:
        return False
    try:
        _settle(paths, outbox_bytes)
    finally:
        os.close(lock)
    return True


def _settle(paths: StatePaths, outbox_bytes: int) -> None:
    request, store = read_request(paths), StateStore(paths)
    if request is None:
        return
    done = obey(request, store.load(), Shelf(paths))
    with Outbox(paths.outbox, outbox_bytes) as outbox:
        for name, body in done.reports:
            outbox.add(report_key(name), body, datetime.now(UTC))
    store.save(done.state)
    drop_request(paths, request)


def _hold(state: BoxState, shelf: Shelf, request: RollbackRequest) -> Rollback:
    known = state.rollback
    return Rollback(
        request_id=request.request_id,
        left=shelf.rolled_back_id(),
        model_id=request.model_id,
        reason=request.reason,
        was_working=known.was_working if known else state.step in WORKING,
    )


def _outcome(state: BoxState, shelf: Shelf, request: RollbackRequest) -> OutcomeBody:
    """Return the outcome: it names the point that was set aside and the model that serves now."""
    left, kept = _read(shelf, shelf.rolled_back_id()), _read(shelf, request.model_id)
    text = f"rolled back to {request.model_id}: {request.reason}"
    return OutcomeBody(
        generation=state.desired.generation if state.desired else 0,
        release_number=left.release_number if left else 0,
        point_key=left.point_key if left else None,
        status="rolled_back",
        reason=printable(text)[:1900],
        balanced_accuracy_after=kept.balanced_accuracy if kept else None,
        n_test=kept.n_test if kept else None,
        model_sha256=kept.sha256 if kept else None,
    )


def _read(shelf: Shelf, model_id: str | None) -> Manifest | None:
    try:
        return shelf.manifest(model_id) if model_id is not None else None
    except ArtifactError:
        return None


def _undo(request: RollbackRequest, state: BoxState, shelf: Shelf, name: str) -> Obeyed:
    shelf.activate(request.model_id)
    active = shelf.active()
    task_id = str(uuid.uuid5(_NAMESPACE, request.request_id))
    after = undone(state, active, lambda: task_id)
    log.warning("rollback_undone", model_id=request.model_id, reason=request.reason)
    text = f"{request.model_id} is active again: {request.reason}"
    event = (name, EventBody(name="rollback_undone", fields={"text": printable(text)[:1900]}))
    if after.step != "active" or active is None:
        return Obeyed(after, (event,))
    outcome = still_active(after, active)
    told = (f"{after.task_id}/outcome", outcome)
    return Obeyed(after.model_copy(update={"outcome": outcome}), (event, told))
