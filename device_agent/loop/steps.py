"""The steps of one task: fetch, verify, evaluate, activate. Each may be done twice without harm.

A step returns the next state or raises: ``RejectStep`` ends the task with an outcome, ``RetryStep``
counts a failed attempt, everything else leaves the state as it is. The step between verifying and
evaluating is ``device_agent.loop.train_step``.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from contract.desired import Assignment
from contract.device import DeviceProfile
from contract.finetune import MODEL_FILE, FinetuneResult
from contract.release import Artifact, TrainGraph
from contract.report import OutcomeBody, OutcomeStatus
from device_agent.disk.shelf import Manifest
from device_agent.errors import (
    AgentError,
    ArtifactError,
    RefusedError,
    TruncatedError,
)
from device_agent.loop.box import Box, printable
from device_agent.loop.outcome import judge_result, outcome_body
from device_agent.loop.retrain import outlasting_text, outlasts
from device_agent.loop.state import BoxState, Step, advance, assignment_of
from device_agent.training.trainer import TrainerRun

log = structlog.get_logger()
MOST_ATTEMPTS = 3
MOST_STARTS = 20
_MB = 1_000_000


class RejectStep(AgentError):  # noqa: N818 - a turn of events, not a fault
    """The task ends here: ``status`` and the message become its outcome."""

    def __init__(
        self,
        status: OutcomeStatus,
        text: str,
        *,
        run: TrainerRun | None = None,
        cap_bytes: int | None = None,
    ) -> None:
        self.status = status
        self.run = run
        self.cap_bytes = cap_bytes
        self.peak_bytes: int | None = None
        super().__init__(text)


class RetryStep(AgentError):  # noqa: N818 - a turn of events, not a fault
    """An attempt failed; there may be another."""

    exit_code = 6
    name = "attempt_failed"


class RetryLaterStep(RetryStep):
    """Another attempt at once would meet the same: it is made after a pause."""


class DeferredError(AgentError):
    """The plan fits this box, but not just now."""

    exit_code = 6
    name = "deferred"


class StarvedError(AgentError):
    """The box ran out of memory outside the cap while it trained: others took it."""

    exit_code = 6
    name = "starved"


def fetch(box: Box, state: BoxState) -> BoxState:
    """Bring every file of the assignment into the cache.

    A file that the server lacks or sends damaged is a failed attempt; a body that broke off, a busy
    or an absent server is none.
    """
    assignment = assignment_of(state)
    variant, files = assignment.variant, needed_files(assignment)
    try:
        box.cache.fetch_all(files, box.client.artifact)
    except TruncatedError:
        raise
    except (ArtifactError, RefusedError) as exc:
        message = f"a file of {variant.name} cannot be fetched: {exc}"
        raise RetryLaterStep(message) from exc
    log.info("artifacts_fetched", variant=variant.name, n=len(files))
    return advance(state, "fetched")


def needed_files(assignment: Assignment) -> tuple[Artifact, ...]:
    """Return the files that training and serving need; raises RejectStep without a graph."""
    variant = assignment.variant
    return (variant.weights, variant.inference, train_graph(assignment).artifact)


def verify(box: Box, state: BoxState) -> BoxState:
    """Read every file again from the disk, then try the network in a child, before any training.

    A file that the disk has damaged is fetched again: a failed attempt. So is a trial that fails,
    since a crowded box may be the reason.
    """
    assignment = assignment_of(state)
    damaged = [a.kind for a in needed_files(assignment) if not box.cache.holds(a)]
    if damaged:
        log.warning("files_damaged_on_disk", kinds=damaged, attempts=state.attempts + 1)
        if state.attempts + 1 >= MOST_ATTEMPTS:
            message = f"this disk does not keep what is written: {', '.join(damaged)}"
            raise RejectStep("refused", message)
        return advance(state, "found_damaged", attempts=state.attempts + 1)
    network = describe_network(box, assignment, state)
    trouble = box.try_model(box.cache.path(assignment.variant.inference), network)
    if trouble is not None:
        message = f"the network {assignment.variant.name} does not run here: {trouble}"
        raise RetryLaterStep(message)
    log.info("files_verified", variant=assignment.variant.name)
    return advance(state, "verified")


def describe_network(box: Box, assignment: Assignment, state: BoxState) -> Manifest:
    """Describe the untrained network as a model, for its trial."""
    variant = assignment.variant
    return Manifest(
        model_id=f"untrained-{variant.name}",
        variant=variant.name,
        classes=variant.classes,
        input_px=assignment.point.plan.input_px,
        in_channels=variant.spec.in_channels,
        sha256=variant.inference.sha256,
        length_bytes=variant.inference.length_bytes,
        release_number=state.desired.release_number if state.desired else 0,
        point_key=assignment.point.key,
        balanced_accuracy=None,
        n_test=0,
        data_key="none",
        artifacts=(),
        made_at=box.world.now(),
    )


def train_graph(assignment: Assignment) -> TrainGraph:
    """Return the graph of the plan's cut; raises RejectStep where the variant has none."""
    cut = assignment.point.plan.scope.cut
    for graph in assignment.variant.train_graphs:
        if graph.cut == cut:
            return graph
    raise RejectStep("refused", f"the variant has no training graph for the cut {cut}")


def with_seen_floor(profile: DeviceProfile, state: BoxState) -> DeviceProfile:
    """Return the profile with the floor that a trainer has shown here, where that is larger."""
    if state.floor_bytes is None or state.floor_bytes <= (profile.runtime_floor_bytes or 0):
        return profile
    return profile.model_copy(update={"runtime_floor_bytes": state.floor_bytes})


def seen_floor(state: BoxState, run: TrainerRun) -> int | None:
    """Return the largest floor seen, in whole megabytes, so that it does not flap."""
    if run.result is None or run.result.floor_bytes <= 0:
        return state.floor_bytes
    return max(state.floor_bytes or 0, -(-run.result.floor_bytes // _MB) * _MB)


def _result(state: BoxState) -> FinetuneResult:
    if state.result is None:
        raise RejectStep("refused", "the training's result was lost")
    return state.result


def evaluate(box: Box, state: BoxState) -> BoxState:
    """Judge the result by the floor and by the model that is active now."""
    desired = state.desired
    floor = desired.accuracy_floor if desired else 1.0
    if state.retraining is not None:
        return _evaluate_again(box, state, floor)
    verdict = judge_result(_result(state), floor, _rival(box, state))
    log.info("model_evaluated", accepted=verdict.accepted, reason=verdict.text)
    if not verdict.accepted:
        raise RejectStep(verdict.status, verdict.text, cap_bytes=state.cap_bytes)
    return advance(state, "evaluated")


def _evaluate_again(box: Box, state: BoxState, floor: float) -> BoxState:
    """Judge a retraining: the model in use stays unless the new one is at least as good."""
    result = _result(state)
    if outlasts(result, floor):
        return _keep_active(box, state, outlasting_text(result), result)
    verdict = judge_result(result, floor, None)
    log.info("model_evaluated", accepted=verdict.accepted, reason=verdict.text)
    if not verdict.accepted:
        raise RejectStep(verdict.status, verdict.text, cap_bytes=state.cap_bytes)
    return advance(state, "evaluated")


def _keep_active(box: Box, state: BoxState, text: str, result: FinetuneResult) -> BoxState:
    """End a retraining with the model that was active before, and what it scored just now."""
    active = box.shelf.active()
    if active is None:
        raise RejectStep("refused", f"{text}, but it is gone")
    outcome = still_active(state, active).model_copy(
        update={
            "reason": printable(text)[:1900],
            "balanced_accuracy_after": result.balanced_accuracy_rival,
            "n_test": result.n_rival,
        }
    )
    box.report(f"{state.task_id}/outcome", outcome)
    log.info("model_kept", model_id=active.model_id, reason=text)
    return advance(state, "kept_active", outcome=outcome, retraining=None)


def _rival(box: Box, state: BoxState) -> float | None:
    active = box.shelf.active()
    number = state.desired.release_number if state.desired else None
    if active is None or active.release_number != number or active.data_key != state.data_key:
        return None
    return active.balanced_accuracy if box.shelf.is_whole(active.model_id) else None


def activate(box: Box, state: BoxState) -> BoxState:
    """Put the model on the shelf, try it in a child, switch to it, report."""
    source = box.paths.job(state.task_id or "task") / "out" / MODEL_FILE
    manifest = make_manifest(box, state, source)
    installed = (
        box.shelf.install(source, manifest)
        if source.exists()
        else box.shelf.folder(manifest.model_id)
    )
    box.world.mark("model installed")
    trouble = box.try_model(installed / MODEL_FILE, manifest)
    if trouble is not None:
        raise RejectStep("refused", f"the trained model does not run here: {trouble}")
    box.shelf.activate(manifest.model_id)
    box.world.mark("model switched")
    floor = state.desired.accuracy_floor if state.desired else 1.0
    text = judge_result(_result(state), floor, None).text
    outcome = finished(state, "activated", text, None, state.cap_bytes)
    box.report(f"{state.task_id}/outcome", outcome)
    log.info("model_activated", model_id=manifest.model_id, reason=text)
    return advance(state, "activated", outcome=outcome)


def make_manifest(box: Box, state: BoxState, source: Path) -> Manifest:
    """Describe the trained model; raises RejectStep when the trainer left none."""
    result, assignment = _result(state), assignment_of(state)
    sha256, variant = result.model_sha256, assignment.variant
    if sha256 is None or (result.balanced_accuracy_after is None):
        raise RejectStep("refused", "the trainer left no model")
    number = state.desired.release_number if state.desired else 0
    model_id = name_model(number, variant.name, sha256, f"{assignment.point.key} {state.data_key}")
    if not source.exists():
        return box.shelf.manifest(model_id)
    cut = assignment.point.plan.scope.cut
    return Manifest(
        model_id=model_id,
        variant=variant.name,
        classes=variant.classes,
        input_px=assignment.point.plan.input_px,
        in_channels=variant.spec.in_channels,
        sha256=sha256,
        length_bytes=source.stat().st_size,
        release_number=number,
        point_key=assignment.point.key,
        balanced_accuracy=result.balanced_accuracy_after,
        n_test=result.n_test,
        data_key=state.data_key or "unknown",
        artifacts=tuple(a.sha256 for a in variant.artifacts_for(cut)),
        made_at=box.world.now(),
    )


def name_model(number: int, variant: str, sha256: str, origin: str) -> str:
    """Name a model by its bytes and by ``origin``: the plan and the images that it came from.

    Training that improves nothing hands back the same bytes for every plan.
    """
    tag = hashlib.sha256(origin.encode()).hexdigest()[:8]
    return f"r{number}-{variant[:60]}-{sha256[:12]}-{tag}"


def reject(box: Box, state: BoxState, why: RejectStep) -> BoxState:
    """End the task: the outcome is kept for the server, whatever was active stays.

    A retraining that is refused (it crashed, its numbers went bad) says nothing against the model
    in use: an event tells of it, and the box waits for the next time.
    """
    if state.retraining is not None and why.status == "refused" and box.shelf.active() is not None:
        box.event(f"{state.task_id}", "retraining_failed", str(why))
        log.warning("retraining_failed", reason=str(why))
        return advance(state, "kept_active", retraining=None)
    outcome = finished(state, why.status, str(why), why.run, why.cap_bytes)
    if why.peak_bytes is not None:
        outcome = outcome.model_copy(update={"peak_rss_bytes": why.peak_bytes})
    box.report(f"{state.task_id}/outcome", outcome)
    log.warning("assignment_rejected", status=why.status, reason=str(why))
    floor_bytes = seen_floor(state, why.run) if why.run else state.floor_bytes
    return advance(state, "rejected", outcome=outcome, floor_bytes=floor_bytes)


def finished(
    state: BoxState, status: OutcomeStatus, text: str, run: TrainerRun | None, cap_bytes: int | None
) -> OutcomeBody:
    """Return the outcome of the state's task with all that was measured."""
    result = state.result or (run.result if run else None)
    body = outcome_body(outcome_of(state, status, text), result, run, cap_bytes)
    kinds = run.cap_kinds if run else state.cap_kinds
    return body.model_copy(update={"cap_kinds": kinds, "micro_batch": state.micro_batch})


def outcome_of(state: BoxState, status: OutcomeStatus, text: str) -> OutcomeBody:
    desired = state.desired
    assignment = desired.assignment if desired else None
    return OutcomeBody(
        generation=desired.generation if desired else 0,
        release_number=desired.release_number if desired else 0,
        point_key=assignment.point.key if assignment else None,
        status=status,
        reason=printable(text)[:1900],
    )


def still_active(state: BoxState, active: Manifest) -> OutcomeBody:
    """Return the outcome of orders that the active model meets already."""
    text = f"{active.model_id} is active already and meets the floor"
    measured = {
        "balanced_accuracy_after": active.balanced_accuracy,
        "n_test": active.n_test,
        "model_sha256": active.sha256,
    }
    return outcome_of(state, "activated", text).model_copy(update=measured)


def told(state: BoxState, status: OutcomeStatus) -> OutcomeBody:
    """Return the outcome of being told ``cloud`` or ``idle``."""
    return outcome_of(state, status, state.desired.why if state.desired else "")


def clear(box: Box, state: BoxState) -> None:
    """Remove what neither a pinned model nor the task under way needs."""
    keep = {sha for mid in box.shelf.pinned() for sha in _artifacts_of(box, mid)}
    assignment = state.desired.assignment if state.desired else None
    if assignment is not None:
        cut = assignment.point.plan.scope.cut
        graphs = {g.artifact.sha256 for g in assignment.variant.train_graphs if g.cut == cut}
        keep |= {assignment.variant.weights.sha256, assignment.variant.inference.sha256, *graphs}
    box.cache.collect(keep)
    box.shelf.collect(set())
    for folder in box.paths.jobs.iterdir():
        if folder.name != state.task_id:
            shutil.rmtree(folder, ignore_errors=True)


def _artifacts_of(box: Box, model_id: str) -> tuple[str, ...]:
    try:
        return box.shelf.manifest(model_id).artifacts
    except AgentError:
        return ()


STEPS: dict[Step, Callable[[Box, BoxState], BoxState]] = {
    "assigned": fetch,
    "fetched": verify,
    "trained": evaluate,
    "evaluated": activate,
}
