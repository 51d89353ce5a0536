"""The steps of one task: fetch, train, evaluate, activate. Each may be done twice without harm.

A step returns the next state or raises: ``RejectStep`` ends the task with an outcome, ``RetryStep``
counts a failed attempt, everything else leaves the state as it is.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from contract.desired import Assignment
from contract.device import DeviceProfile
from contract.finetune import MODEL_FILE, FinetuneJob, FinetuneResult
from contract.release import TrainGraph
from contract.report import OutcomeBody, OutcomeStatus
from device_agent.box import Box, data_key, printable
from device_agent.caps import ChildBudget, Fit, check_fit, child_budget, dry_run_fit
from device_agent.data_check import require_images
from device_agent.errors import (
    AgentError,
    ArtifactError,
    DataUnusableError,
    DiskFullError,
    RefusedError,
    StoppedError,
    TruncatedError,
)
from device_agent.outcome import judge_result, judge_run, outcome_body
from device_agent.shelf import Manifest
from device_agent.state import BoxState, Step, advance, assignment_of
from device_agent.trainer import TrainerRun

log = structlog.get_logger()
DRY_RUN_STEPS = 2
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


def fetch(box: Box, state: BoxState) -> BoxState:
    """Bring every file of the assignment into the cache.

    A file that the server lacks or sends damaged is a failed attempt; a body that broke off, a busy
    or an absent server is none.
    """
    assignment = assignment_of(state)
    graph = _graph(assignment)
    variant = assignment.variant
    files = (variant.weights, variant.inference, graph.artifact)
    try:
        box.cache.fetch_all(files, box.client.artifact)
    except TruncatedError:
        raise
    except (ArtifactError, RefusedError) as exc:
        message = f"a file of {variant.name} cannot be fetched: {exc}"
        raise RetryLaterStep(message) from exc
    log.info("artifacts_fetched", variant=variant.name, n=len(files))
    return advance(state, "fetched")


def _graph(assignment: Assignment) -> TrainGraph:
    cut = assignment.point.plan.scope.cut
    for graph in assignment.variant.train_graphs:
        if graph.cut == cut:
            return graph
    raise RejectStep("refused", f"the variant has no training graph for the cut {cut}")


def train(box: Box, state: BoxState, interrupted: Callable[[], bool]) -> BoxState:
    """Check the memory, prove it by two steps, then train."""
    assignment = assignment_of(state)
    profile = with_seen_floor(box.take_profile(), state)
    require_images(box, profile)
    budget = child_budget(profile, assignment.budget_bytes)
    workload_bytes = assignment.point.peak_workload_bytes
    _require(box, state, check_fit(budget, profile.runtime_floor_bytes, workload_bytes), budget)
    job = make_job(box, state, budget)
    dry = _run(box, dry_job(job), budget, interrupted)
    fit = dry_run_fit(budget, dry.peak_rss_bytes)
    if not fit.fits:
        raise _over_cap(fit, budget, dry)
    box.world.mark("dry run done")
    state = state.model_copy(update={"floor_bytes": seen_floor(state, dry)})
    log.info("dry_run_fits", peak_bytes=dry.peak_rss_bytes, cap_bytes=budget.cap_bytes)
    run = _run(box, job, budget, interrupted)
    box.world.mark("training done")
    key = data_key(box.settings.data, box.settings.test_data)
    kinds = {"cap_kinds": run.cap_kinds, "cap_bytes": budget.cap_bytes}
    return advance(state, "trained", result=_believed(run), data_key=key, **kinds)


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


def _require(box: Box, state: BoxState, fit: Fit, budget: ChildBudget) -> None:
    if fit.fits:
        return
    if not fit.for_now:
        raise _over_cap(fit, budget)
    box.report(f"{state.task_id}/deferred", _outcome(state, "deferred", fit.text))
    raise DeferredError(f"{fit.text}; it will be tried again at the next poll")


def _over_cap(fit: Fit, budget: ChildBudget, run: TrainerRun | None = None) -> RejectStep:
    """Refuse a plan whose predicted or proven peak is over the cap.

    It is reported as ``over_cap`` with that peak, not as ``refused``: a larger cap makes it right.
    """
    why = RejectStep("over_cap", fit.text, run=run, cap_bytes=budget.cap_bytes)
    why.peak_bytes = fit.peak_bytes
    return why


def make_job(box: Box, state: BoxState, budget: ChildBudget) -> FinetuneJob:
    """Write the assignment as a job for the fine-tune program."""
    assignment = assignment_of(state)
    variant, plan, graph = assignment.variant, assignment.point.plan, _graph(assignment)
    task_id = state.task_id or "task"
    test_dir = box.settings.test_data
    return FinetuneJob(
        job_id=task_id,
        variant=variant.name,
        weights_path=str(box.cache.path(variant.weights).resolve()),
        inference_path=str(box.cache.path(variant.inference).resolve()),
        train_graph_path=str(box.cache.path(graph.artifact).resolve()),
        output_dir=str((box.paths.job(task_id) / "out").resolve()),
        data_dir=str((box.settings.data or Path()).resolve()),
        classes=list(variant.classes),
        trainable=list(graph.trainable),
        frozen=list(graph.frozen),
        input_px=plan.input_px,
        in_channels=variant.spec.in_channels,
        batch=plan.batch,
        micro_batch=plan.micro_batch,
        epochs=plan.epochs,
        optimiser=plan.optimiser,
        learning_rate=plan.learning_rate,
        dropout=variant.spec.dropout,
        threads=box.settings.threads,
        test_dir=str(test_dir.resolve()) if test_dir else None,
        ram_cap_bytes=budget.cap_bytes,
    )


def dry_job(job: FinetuneJob) -> FinetuneJob:
    """Return the same job cut to two steps, in a folder of its own."""
    output = str(Path(job.output_dir).with_name("dry"))
    changes = {"job_id": f"{job.job_id}-dry", "output_dir": output, "max_steps": DRY_RUN_STEPS}
    return FinetuneJob(**{**job.__dict__, **changes})


def _run(
    box: Box, job: FinetuneJob, budget: ChildBudget, interrupted: Callable[[], bool]
) -> TrainerRun:
    run = box.trainer.run(job, box.on_progress, interrupted)
    end = judge_run(run, budget.cap_bytes)
    log.info(
        "trainer_ended",
        job_id=job.job_id,
        ending=run.ending,
        kind=end.kind,
        returncode=run.returncode,
    )
    if end.kind == "stopped":
        raise StoppedError
    if end.kind == "data":
        raise DataUnusableError(f"the images cannot be trained on: {end.text}")
    if end.kind == "disk":
        raise DiskFullError(Path(job.output_dir))
    if end.kind == "retry":
        raise RetryStep(end.text)
    if end.kind == "report":
        raise RejectStep(end.status or "refused", end.text, run=run, cap_bytes=budget.cap_bytes)
    return run


def _believed(run: TrainerRun) -> FinetuneResult:
    if run.result is None:
        raise RetryStep("the trainer left no result")
    return run.result


def _result(state: BoxState) -> FinetuneResult:
    if state.result is None:
        raise RejectStep("refused", "the training's result was lost")
    return state.result


def evaluate(box: Box, state: BoxState) -> BoxState:
    """Judge the result by the floor and by the model that is active now."""
    desired = state.desired
    floor = desired.accuracy_floor if desired else 1.0
    verdict = judge_result(_result(state), floor, _rival(box, state))
    log.info("model_evaluated", accepted=verdict.accepted, reason=verdict.text)
    if not verdict.accepted:
        raise RejectStep(verdict.status, verdict.text, cap_bytes=state.cap_bytes)
    return advance(state, "evaluated")


def _rival(box: Box, state: BoxState) -> float | None:
    active = box.shelf.active()
    number = state.desired.release_number if state.desired else None
    if active is None or active.release_number != number or active.data_key != state.data_key:
        return None
    return active.balanced_accuracy


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
    model_id = f"r{number}-{variant.name[:60]}-{sha256[:12]}"
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


def reject(box: Box, state: BoxState, why: RejectStep) -> BoxState:
    """End the task: the outcome is kept for the server, whatever was active stays."""
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
    body = outcome_body(_outcome(state, status, text), result, run, cap_bytes)
    return body.model_copy(update={"cap_kinds": run.cap_kinds if run else state.cap_kinds})


def _outcome(state: BoxState, status: OutcomeStatus, text: str) -> OutcomeBody:
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
    return _outcome(state, "activated", text).model_copy(update=measured)


def told(state: BoxState, status: OutcomeStatus) -> OutcomeBody:
    """Return the outcome of being told ``cloud`` or ``idle``."""
    return _outcome(state, status, state.desired.why if state.desired else "")


def clear(box: Box, state: BoxState) -> None:
    """Remove what neither the active model nor the task under way needs."""
    keep = {sha for mid in box.shelf.candidates() for sha in _artifacts_of(box, mid)}
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
    "trained": evaluate,
    "evaluated": activate,
}
