"""Measures frontier points by running the one fine-tune program, as a box would run it.

For every (variant, plan) the program runs once per board in a fresh process; the results become
one FrontierPoint with its conditions. Finished runs are kept, so a stopped measurement goes on
where it was. It decides nothing: dominated points are measured and kept like all others.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from contract.finetune import RESULT_FILE, FinetuneJob, FinetuneResult
from contract.measurement import Conditions, FrontierPoint
from contract.plan import Plan
from contract.release import TrainGraph, Variant

_RESULT: TypeAdapter[FinetuneResult] = TypeAdapter(FinetuneResult)
# Student's t, two-sided 95 %, by degrees of freedom from 1.
STUDENT_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
_NORMAL_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board that the release never saw: labelled tiles to learn from, and others to test on."""

    name: str
    train_dir: Path
    test_dir: Path


@dataclass(frozen=True, kw_only=True)
class VariantFiles:
    """A variant and where the lab keeps its files, by SHA-256."""

    variant: Variant
    paths: dict[str, Path]


class MeasurementFailedError(RuntimeError):
    """A program that measures a part of a point did not finish."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"{job_id} could not be measured: {reason}")
        self.job_id = job_id


class NoBoardsError(ValueError):
    """There is nothing to measure on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds no board: make {folder}/BOARD/train and {folder}/BOARD/test, each "
            "with one folder of images per class"
        )
        self.folder = folder


def boards_in(folder: Path) -> tuple[Board, ...]:
    """Return the boards of ``folder/<board>/{train,test}/<class>``, sorted by name.

    Raises NoBoardsError.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [p for p in inside if (p / "train").is_dir() and (p / "test").is_dir()]
    if not found:
        raise NoBoardsError(folder)
    return tuple(Board(name=p.name, train_dir=p / "train", test_dir=p / "test") for p in found)


def measure_points(
    plans: Sequence[tuple[VariantFiles, Plan]],
    *,
    boards: Sequence[Board],
    task: str,
    train_limit: int,
    out_dir: Path,
    report: Callable[[str, int, int], None],
) -> tuple[FrontierPoint, ...]:
    """Run every plan on every board and return a point each; raises MeasurementFailedError.

    The spread between boards that their lower bounds rest on is pooled over all of ``plans``: see
    `spread_between_boards`. ``report(name, done, total)`` is called before each.
    """
    found: list[list[FinetuneResult]] = []
    for index, (files, plan) in enumerate(plans):
        report(f"{files.variant.name} {plan.title}", index, len(plans))
        jobs = (
            _job(files, plan, board, seed=seed, train_limit=train_limit, out_dir=out_dir)
            for seed, board in enumerate(boards)
        )
        found.append([run_finetune(job) for job in jobs])
    spread = spread_between_boards([_accuracies(results) for results in found])
    return tuple(
        _point(
            planned,
            task=task,
            results=results,
            latency=_latency(planned[0], out_dir),
            spread=spread,
            conditions=_conditions(results, boards, n_points=len(plans)),
        )
        for planned, results in zip(plans, found, strict=True)
    )


def _accuracies(results: Sequence[FinetuneResult]) -> list[float]:
    return [_known(r.balanced_accuracy_after, r) for r in results]


def _job(
    files: VariantFiles, plan: Plan, board: Board, *, seed: int, train_limit: int, out_dir: Path
) -> FinetuneJob:
    variant = files.variant
    graph = _graph(variant, plan.scope.cut)
    name = f"{variant.name}-{plan.scope.cut}-b{plan.batch}-m{plan.micro_batch}-e{plan.epochs}"
    job_id = f"{name}-{plan.optimiser}-{plan.learning_rate:g}-{board.name}-s{seed}-n{train_limit}"
    return FinetuneJob(
        job_id=job_id,
        variant=variant.name,
        weights_path=str(files.paths[variant.weights.sha256].resolve()),
        inference_path=str(files.paths[variant.inference.sha256].resolve()),
        train_graph_path=str(files.paths[graph.artifact.sha256].resolve()),
        output_dir=str(out_dir.resolve() / job_id),
        data_dir=str(board.train_dir.resolve()),
        test_dir=str(board.test_dir.resolve()),
        classes=list(variant.classes),
        trainable=list(graph.trainable),
        frozen=list(graph.frozen),
        input_px=plan.input_px,
        in_channels=variant.spec.in_channels,
        dropout=variant.spec.dropout,
        batch=plan.batch,
        micro_batch=plan.micro_batch,
        epochs=plan.epochs,
        optimiser=plan.optimiser,
        learning_rate=plan.learning_rate,
        seed=seed,
        train_limit=train_limit,
    )


def _graph(variant: Variant, cut: str) -> TrainGraph:
    return {graph.cut: graph for graph in variant.train_graphs}[cut]


def run_finetune(job: FinetuneJob, on_line: Callable[[str], None] | None = None) -> FinetuneResult:
    """Run one fine-tune in a fresh process and return its result.

    Raises MeasurementFailedError when it ends in any other way than done.
    """
    folder = Path(job.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    job_path = folder / "job.json"
    job_path.write_text(json.dumps(asdict(job), indent=1))
    command = [sys.executable, "-m", "models", "finetune", str(job_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        for line in child.stdout or ():
            if on_line:
                on_line(line)
    result_path = folder / RESULT_FILE
    if not result_path.is_file():
        raise MeasurementFailedError(job.job_id, f"exit status {child.returncode}, no result")
    result = _RESULT.validate_json(result_path.read_bytes())
    if child.returncode or result.status != "done":
        reason = result.reason or f"exit status {child.returncode}"
        raise MeasurementFailedError(job.job_id, reason)
    return result


def _latency(files: VariantFiles, out_dir: Path) -> dict[str, float]:
    variant = files.variant
    stored = out_dir / f"latency-{variant.inference.sha256[:16]}.json"
    if not stored.is_file():
        model = str(files.paths[variant.inference.sha256])
        size = [str(variant.spec.input_px), str(variant.spec.in_channels)]
        command = [sys.executable, "-m", "models", "latency", model, *size]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        if done.returncode:
            raise MeasurementFailedError(f"latency of {variant.name}", done.stderr.strip())
        temporary = stored.with_suffix(".tmp")
        temporary.write_text(done.stdout)
        temporary.replace(stored)
    return {k: float(v) for k, v in json.loads(stored.read_text()).items()}


def _point(
    planned: tuple[VariantFiles, Plan],
    *,
    task: str,
    results: Sequence[FinetuneResult],
    latency: dict[str, float],
    spread: float | None,
    conditions: Conditions,
) -> FrontierPoint:
    files, plan = planned
    variant = files.variant
    after = _accuracies(results)
    before = [_known(r.balanced_accuracy_before, r) for r in results]
    images = sum(r.images_trained for r in results)
    artifacts = {a.sha256: a.length_bytes for a in variant.artifacts_for(plan.scope.cut)}
    return FrontierPoint(
        variant=variant.name,
        plan=plan,
        task=task,
        accuracy_mean=round(statistics.mean(after), 4),
        accuracy_lower=round(lower_bound(after, results, spread), 4),
        accuracy_before=round(statistics.mean(before), 4),
        peak_workload_bytes=max(r.workload_bytes for r in results),
        floor_bytes=max(r.floor_bytes for r in results),
        train_seconds_per_image=sum(r.train_seconds for r in results) / max(1, images),
        train_seconds=round(statistics.mean(r.cpu_seconds for r in results), 2),
        latency_ms=round(latency["latency_ms"], 3),
        inference_bytes=int(latency["inference_bytes"]),
        artifact_bytes=sum(artifacts.values()),
        conditions=conditions,
    )


def _known(value: float | None, result: FinetuneResult) -> float:
    if value is None or not math.isfinite(value):
        raise MeasurementFailedError(result.job_id, "it reported no accuracy")
    return value


def spread_between_boards(points: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation between boards, pooled over points; None with one board.

    ``points`` holds the accuracy on each board, the same boards for each. A deviation of a few
    boards is itself a matter of luck, and whoever then chooses the highest lower bound chooses the
    luckiest; all points together know it better.
    """
    if not points or len(points[0]) < 2:  # noqa: PLR2004  # no spread in one
        return None
    return math.sqrt(statistics.mean(statistics.variance(point) for point in points))


def lower_bound(
    accuracies: Sequence[float], results: Sequence[FinetuneResult], spread: float | None
) -> float:
    """Return the lower end of the 95 % interval of the mean balanced accuracy of a new board.

    Clustered by board: Student's t with ``spread``, the standard deviation between boards, and
    never narrower than the binomial interval of all test images together. Pooling earns no degrees
    of freedom: the points share their boards. In [0, 1].
    """
    mean = statistics.mean(accuracies)
    n_test = sum(r.n_test for r in results)
    half = _NORMAL_95 * math.sqrt(max(mean * (1 - mean), 1 / max(1, n_test)) / max(1, n_test))
    if spread is not None:
        t = STUDENT_T_95[min(len(accuracies) - 1, len(STUDENT_T_95)) - 1]
        half = max(half, t * spread / math.sqrt(len(accuracies)))
    return max(0.0, mean - half)


def _conditions(
    results: Sequence[FinetuneResult], boards: Sequence[Board], *, n_points: int
) -> Conditions:
    pooled = f", spread pooled over {n_points} points" if n_points > 1 else ""
    return Conditions(
        method=f"models finetune, a fresh process per board; t interval over boards{pooled}",
        host=f"{os.cpu_count()} cores, {platform.machine()}",
        cpu=cpu_model(),
        versions=results[0].versions,
        threads=1,
        seeds=tuple(range(len(results))),
        n_train=results[0].n_train + results[0].n_validation,
        n_test=sum(r.n_test for r in results),
        repeats=len(results),
        boards=tuple(board.name for board in boards),
        measured_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def cpu_model() -> str:
    """Return the processor's name as the kernel gives it, or the machine's architecture."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name), platform.machine())
