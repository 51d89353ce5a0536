"""The step that trains: check the memory, prove it by two steps, train, or go a rung down.

A plan that breaks the cap is tried with smaller micro-batches (``loop.ladder``) before the
server hears of it; the rung in use is part of the state, so a restart goes on with it.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

from contract.finetune import SEEN_FILE, FinetuneJob, FinetuneResult
from device_agent.disk.shelf import MODEL
from device_agent.errors import DataUnusableError, DiskFullError, StoppedError
from device_agent.loop.box import Box, data_key
from device_agent.loop.data_check import require_images
from device_agent.loop.ladder import Rung, rung_in_use
from device_agent.loop.outcome import TrainingEnd, judge_run
from device_agent.loop.state import BoxState, advance, assignment_of
from device_agent.loop.steps import (
    DeferredError,
    RejectStep,
    RetryStep,
    StarvedError,
    outcome_of,
    seen_floor,
    train_graph,
    with_seen_floor,
)
from device_agent.training.caps import ChildBudget, Fit, check_fit, child_budget, dry_run_fit
from device_agent.training.trainer import TrainerRun

log = structlog.get_logger()
DRY_RUN_STEPS = 2


def train(box: Box, state: BoxState, interrupted: Callable[[], bool]) -> BoxState:
    """Return the trained state, or the same step with a smaller micro-batch to try next.

    Raises RejectStep when no micro-batch keeps the cap, and DeferredError when the memory that the
    plan needs is held by others just now.
    """
    profile = with_seen_floor(box.take_profile(), state)
    assignment = assignment_of(state)
    require_images(box, profile, assignment)
    budget = child_budget(profile, assignment.budget_bytes)
    rung = rung_in_use(assignment.point.plan, state.micro_batch)
    fit = _predict(rung, budget, state, profile.runtime_floor_bytes)
    if not fit.fits and fit.for_now:
        raise _deferred(box, state, fit.text)
    try:
        if not fit.fits:
            raise _over_cap(fit, budget)
        return _prove_and_train(box, state, budget, interrupted)
    except RejectStep as why:
        if why.status != "over_cap":
            raise
        return _step_down(box, state, why, budget, profile.runtime_floor_bytes)


def _predict(rung: Rung, budget: ChildBudget, state: BoxState, floor_bytes: int | None) -> Fit:
    workload_bytes = assignment_of(state).point.peak_workload_bytes
    least_bytes = None if workload_bytes is None else rung.least_bytes(workload_bytes)
    return check_fit(budget, floor_bytes, workload_bytes, least_bytes)


def _prove_and_train(
    box: Box, state: BoxState, budget: ChildBudget, interrupted: Callable[[], bool]
) -> BoxState:
    job = make_job(box, state, budget)
    dry = _run(box, state, dry_job(job), budget, interrupted)
    fit = dry_run_fit(budget, dry.peak_rss_bytes)
    if not fit.fits:
        raise _over_cap(fit, budget, dry)
    box.world.mark("dry run done")
    state = state.model_copy(update={"floor_bytes": seen_floor(state, dry)})
    log.info("dry_run_fits", peak_bytes=dry.peak_rss_bytes, cap_bytes=budget.cap_bytes)
    run = _run(box, state, job, budget, interrupted)
    box.world.mark("training done")
    key = data_key(box.settings.data, box.settings.test_data)
    kinds = {"cap_kinds": run.cap_kinds, "cap_bytes": budget.cap_bytes}
    return advance(state, "trained", result=_believed(run), data_key=key, **kinds)


def _step_down(
    box: Box, state: BoxState, why: RejectStep, budget: ChildBudget, floor_bytes: int | None
) -> BoxState:
    """Return the state with the next micro-batch that may keep the cap; raises ``why`` at the end.

    Rungs that cannot fit by any reckoning are passed over: they would only cost a dry run each.
    """
    rung = rung_in_use(assignment_of(state).point.plan, state.micro_batch)
    for lower in rung.below():
        fit = _predict(lower, budget, state, floor_bytes)
        if fit.fits or fit.for_now:
            break
    else:
        raise why
    log.warning("stepped_down", micro_batch=lower.micro_batch, reason=str(why))
    name = f"{state.task_id}/micro-batch-{lower.micro_batch}"
    text = f"from {rung.micro_batch} to {lower.micro_batch} images at a time: {why}"
    box.event(name, "smaller_micro_batch", text)
    floor = seen_floor(state, why.run) if why.run else state.floor_bytes
    return state.model_copy(update={"micro_batch": lower.stepped_to, "floor_bytes": floor})


def _deferred(box: Box, state: BoxState, text: str) -> DeferredError:
    box.report(f"{state.task_id}/deferred", outcome_of(state, "deferred", text))
    return DeferredError(f"{text}; it will be tried again at the next poll")


def _over_cap(fit: Fit, budget: ChildBudget, run: TrainerRun | None = None) -> RejectStep:
    """Refuse a plan whose predicted or proven peak is over the cap.

    It is reported as ``over_cap`` with that peak, not as ``refused``: a larger cap makes it right.
    """
    why = RejectStep("over_cap", fit.text, run=run, cap_bytes=budget.cap_bytes)
    why.peak_bytes = fit.peak_bytes
    return why


def make_job(box: Box, state: BoxState, budget: ChildBudget) -> FinetuneJob:
    """Write the assignment as a job for the fine-tune program.

    Every rung is a job of its own name: what another rung left is never taken for this one's.
    """
    assignment = assignment_of(state)
    variant, plan, graph = assignment.variant, assignment.point.plan, train_graph(assignment)
    rung = rung_in_use(plan, state.micro_batch)
    task_id = state.task_id or "task"
    test_dir = box.settings.test_data
    rival, rival_seen = _rival_files(box, state, variant.classes, plan.input_px)
    return FinetuneJob(
        job_id=task_id if rung.is_planned else f"{task_id}-micro-batch-{rung.micro_batch}",
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
        micro_batch=rung.micro_batch,
        epochs=plan.epochs,
        optimiser=plan.optimiser,
        learning_rate=plan.learning_rate,
        dropout=variant.spec.dropout,
        threads=box.settings.threads,
        test_dir=str(test_dir.resolve()) if test_dir else None,
        ram_cap_bytes=budget.cap_bytes,
        rival_path=rival,
        rival_seen_path=rival_seen,
    )


def _rival_files(
    box: Box, state: BoxState, classes: tuple[str, ...], input_px: int
) -> tuple[str | None, str | None]:
    """Return the model in use, and what it has seen, where a retraining is held against it."""
    active = box.shelf.active()
    if state.retraining is None or active is None:
        return None, None
    if (active.classes, active.input_px) != (classes, input_px):
        return None, None
    folder = box.shelf.folder(active.model_id).resolve()
    seen = folder / SEEN_FILE
    return str(folder / MODEL), str(seen) if seen.is_file() else None


def dry_job(job: FinetuneJob) -> FinetuneJob:
    """Return the same job cut to two steps, in a folder of its own."""
    output = str(Path(job.output_dir).with_name("dry"))
    changes = {"job_id": f"{job.job_id}-dry", "output_dir": output, "max_steps": DRY_RUN_STEPS}
    return FinetuneJob(**{**job.__dict__, **changes})


def _run(
    box: Box,
    state: BoxState,
    job: FinetuneJob,
    budget: ChildBudget,
    interrupted: Callable[[], bool],
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
    if end.kind == "go_on":
        return run
    if end.kind == "later":
        box.report(f"{state.task_id}/deferred", outcome_of(state, "deferred", end.text))
    raise _trouble(end, run, job, budget)


def _trouble(end: TrainingEnd, run: TrainerRun, job: FinetuneJob, budget: ChildBudget) -> Exception:
    """Return what to raise for an end that is not the hoped-for one."""
    if end.kind == "report":
        return RejectStep(end.status or "refused", end.text, run=run, cap_bytes=budget.cap_bytes)
    named: dict[str, Exception] = {
        "stopped": StoppedError(),
        "data": DataUnusableError(f"the images cannot be trained on: {end.text}"),
        "disk": DiskFullError(Path(job.output_dir)),
        "later": StarvedError(f"{end.text} It will be tried again at the next poll"),
    }
    return named.get(end.kind, RetryStep(end.text))


def _believed(run: TrainerRun) -> FinetuneResult:
    if run.result is None:
        raise RetryStep("the trainer left no result")
    return run.result
