"""Joins the rules of retraining and the ready hook to the box; saves what it finds out.

``loop.retrain`` decides when to train again, ``loop.ready`` asks the line. Waiting is no failure:
the box goes on serving, listening and reporting, and says once that it waits (an outcome
``deferred``). The windows of a policy hold for every training, the first one too, but not
for a box that has no model at all; the hook holds for all of them.

A retraining is the same assignment as a new task, from the release's weights. The model in use
stays active until ``steps.evaluate`` finds the new one at least as good: see ``retrain.outlasts``.
"""

import uuid
from typing import Any

import structlog

from contract.device import DeviceProfile
from contract.report import InferenceSummaryBody
from contract.rules import BoxRules
from device_agent.disk.shelf import Manifest
from device_agent.loop.absorb import fresh_task
from device_agent.loop.box import Box
from device_agent.loop.ready import ask_hook
from device_agent.loop.retrain import (
    NotDue,
    TrainingFacts,
    closed_text,
    due,
    in_the_past,
    is_open,
    next_open,
)
from device_agent.loop.state import BoxState, advance
from device_agent.loop.steps import outcome_of
from device_agent.stability import UNLIKE

log = structlog.get_logger()


def begin_again(box: Box, state: BoxState, profile: DeviceProfile) -> BoxState:
    """Begin a new task where the active model is due for another training; return the state.

    Where the line is busy the model stays active and the hook is asked again at the next poll.
    """
    active = box.shelf.active()
    if state.step != "active" or active is None or not _is_assigned(state, active):
        return state
    known = _with_last_training(box, state, active, profile)
    answer = due(rules_for(known), _facts(known, profile), box.world.now())
    if isinstance(answer, NotDue):
        return _saved(box, state, known.model_copy(update={"put_off": None}))
    waits = _asked(box, known, f"{active.model_id}/{known.trained_at}")
    if waits.put_off is not None:
        return _saved(box, state, waits)
    log.info("training_again", reason=answer.reason)
    fresh = fresh_task(str(uuid.uuid4())) | {"retraining": answer.reason, "drifted": False}
    return _saved(box, state, advance(waits, "told_train", **fresh))


def put_off(box: Box, state: BoxState) -> BoxState:
    """Return the state with ``put_off`` set where training must wait, just before it begins."""
    if state.step != "verified":
        return _saved(box, state, state.model_copy(update={"put_off": None}))
    closed = closed_reason(box, state)
    if closed is None:
        return _saved(box, state, _asked(box, state, f"{state.task_id}"))
    return _saved(box, state, _waiting(box, state, closed, f"{state.task_id}"))


def closed_reason(box: Box, state: BoxState) -> str | None:
    """Return why the policy's windows forbid training now; None where they do not.

    Also asked while training runs: it stops at the end of a window and goes on from its checkpoint
    in the next one.
    """
    windows, now = rules_for(state).training_windows, box.world.now()
    if is_open(windows, now) or not box.shelf.candidates():
        return None
    return closed_text(next_open(windows, now))


def rules_for(state: BoxState) -> BoxRules:
    """Return the rules that the server sent last."""
    return state.desired.rules if state.desired else BoxRules()


def training_noted(box: Box, profile: DeviceProfile | None) -> dict[str, Any]:
    """Return what to remember of a training that begins now: when, and on how many images."""
    images = None if profile is None else profile.n_ok + profile.n_defect
    return {"trained_at": box.world.now(), "trained_images": images}


def with_drift(box: Box, state: BoxState, summary: InferenceSummaryBody) -> BoxState:
    """Remember that an hour's images had drifted; return the state.

    It stays so until the next training begins: an hour of usual images takes no alarm back.
    """
    if summary.drift is None or summary.drift <= UNLIKE:
        return state
    return _saved(box, state, state.model_copy(update={"drifted": True}))


def _is_assigned(state: BoxState, active: Manifest) -> bool:
    assignment = state.desired.assignment if state.desired else None
    return assignment is not None and assignment.point.key == active.point_key


def _with_last_training(
    box: Box, state: BoxState, active: Manifest, profile: DeviceProfile
) -> BoxState:
    """Return the state with a last training that lies in the past, and the images that it saw.

    A box whose model came before these were remembered counts its images from now on.
    """
    then = in_the_past(state.trained_at or active.made_at, box.world.now())
    seen = state.trained_images
    images = profile.n_ok + profile.n_defect if seen is None else seen
    return state.model_copy(update={"trained_at": then, "trained_images": images})


def _facts(state: BoxState, profile: DeviceProfile) -> TrainingFacts:
    return TrainingFacts.model_validate(
        {
            "trained_at": state.trained_at,
            "trained_images": state.trained_images,
            "labelled_images": (profile.n_ok, profile.n_defect),
            "drifted": state.drifted,
        }
    )


def _asked(box: Box, state: BoxState, task: str) -> BoxState:
    """Ask the line; a hook that does not work is told to the server as an event."""
    answer = ask_hook(box.settings.ready_hook)
    if answer.ready:
        return state.model_copy(update={"put_off": None})
    if answer.broken and state.put_off != answer.reason:
        box.event(f"{task}/{uuid.uuid4()}", "ready_hook_failed", answer.reason)
    return _waiting(box, state, answer.reason, task)


def _waiting(box: Box, state: BoxState, reason: str, task: str) -> BoxState:
    """Say once that training waits."""
    if state.put_off is None:
        log.info("training_put_off", reason=reason)
        box.report(f"{task}/put-off", outcome_of(state, "deferred", reason))
    return state.model_copy(update={"put_off": reason})


def _saved(box: Box, before: BoxState, after: BoxState) -> BoxState:
    if after != before:
        box.store.save(after)
        box.world.mark(f"saved {after.step}")
    return after
