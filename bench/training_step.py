"""A training step in a box's graphs against the same step in torch: prints JSON with conditions.

    python -m bench.training_step [--release releases/starter] [--variant NAME] [--cut CUT]
        [--micro-batch N]

For every plan of a release: the same weights, images, batch, micro-batch, cut, frozen BatchNorm and
Adam, one thread each. Both sides run in fresh processes, in turn, for several rounds; a step is
the median over all, peak is RSS above what the process occupies after its imports. Dropout is off
on both sides. Run it alone on the machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from contract.measurement import FrontierPoint
from contract.release import Variant
from models.finetune.memory import read_memory, tune_allocator
from models.measure import cpu_model
from models.release import FILES_FOLDER, read_release

STEPS = 6
ROUNDS = 3
LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Task:
    """One plan of one variant, as both children take it."""

    weights: str
    graph: str
    spec: str
    cut: str
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    px: int
    batch: int
    micro_batch: int

    def images(self) -> np.ndarray:
        """Return one batch, uint8 [batch, px, px, 3]: its content does not matter to the cost."""
        return np.random.default_rng(0).integers(
            0, 256, (self.batch, self.px, self.px, 3), dtype=np.uint8
        )

    def labels(self) -> np.ndarray:
        """Return int64 [batch], half of each class."""
        return np.arange(self.batch, dtype=np.int64) % 2


def graph_step(task: Task) -> Callable[[], None]:
    """Return a step through the training graph, as the fine-tune program makes it."""
    from models.finetune.optimiser import Adam  # noqa: PLC0415  # a child loads its side alone
    from models.finetune.parameters import FlatTensors, Floats  # noqa: PLC0415
    from models.finetune.session import MicroBatch, TrainingSession, merged_model  # noqa: PLC0415
    from models.finetune.tensors import read_tensors  # noqa: PLC0415

    weights = Path(task.weights)
    parameters = FlatTensors.copied_from(read_tensors(weights, task.trainable))
    model = merged_model(Path(task.graph), weights, list(task.frozen))
    session = TrainingSession(model, parameters, threads=1)
    gradients = FlatTensors(parameters.shapes)
    summed = np.zeros_like(parameters.flat)
    optimiser = Adam(parameters.flat.size)
    images, labels = task.images(), task.labels()
    share = np.full(task.micro_batch, 1 / task.batch, np.float32)
    ones: Floats | None = None
    if session.features is not None:
        ones = np.ones((task.micro_batch, session.features), np.float32)

    def step() -> None:
        summed.fill(0)
        for first in range(0, task.batch, task.micro_batch):
            rows = slice(first, first + task.micro_batch)
            part = MicroBatch(
                images=images[rows], labels=labels[rows], weights=share, dropout_mask=ones
            )
            session.gradients(part, gradients)
            np.add(summed, gradients.flat, out=summed)
        optimiser.step(parameters.flat, summed, LEARNING_RATE)

    return step


def torch_step(task: Task) -> Callable[[], None]:
    """Return the same step in torch, channels last, statistics of BatchNorm frozen."""
    import torch  # noqa: PLC0415  # a child loads its side alone
    from pydantic import TypeAdapter  # noqa: PLC0415

    from contract.architecture import ArchitectureSpec  # noqa: PLC0415
    from models.networks import build  # noqa: PLC0415
    from models.train import load_weights, to_network_input  # noqa: PLC0415

    torch.set_num_threads(1)
    spec: ArchitectureSpec = TypeAdapter(ArchitectureSpec).validate_json(task.spec)
    network = build(spec, channels_last=True)
    load_weights(network, Path(task.weights))
    network.eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in task.trainable)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=LEARNING_RATE)
    images, labels = task.images(), torch.from_numpy(task.labels())

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        for first in range(0, task.batch, task.micro_batch):
            rows = slice(first, first + task.micro_batch)
            logits = network(to_network_input(images[rows]))
            loss = torch.nn.functional.cross_entropy(logits, labels[rows], reduction="sum")
            (loss / task.batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


@dataclass(frozen=True, kw_only=True)
class Side:
    """How one side makes a step, and what it imports first: that is its floor."""

    prepare: Callable[[Task], Callable[[], None]]
    imports: tuple[str, ...]


SIDES = {
    "graph": Side(prepare=graph_step, imports=("models.finetune.session",)),
    "torch": Side(prepare=torch_step, imports=("torch", "models.train")),
}


def child(side: Side, task: Task) -> None:
    """Make the steps and print milliseconds and bytes; the first step only warms up."""
    for name in side.imports:
        import_module(name)
    if side is SIDES["graph"]:
        tune_allocator()
    floor_bytes = read_memory().rss_bytes
    step = side.prepare(task)
    step()
    times_ms = []
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        times_ms.append(1e3 * (time.perf_counter() - started))
    peak_bytes = read_memory().peak_rss_bytes
    found = {"step_ms": times_ms, "floor_bytes": floor_bytes, "peak_bytes": peak_bytes}
    sys.stdout.write(json.dumps(found) + "\n")


def compare(task: Task) -> dict[str, dict[str, float]]:
    """Return the figures of both sides, run in turn."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for _ in range(ROUNDS):
        for name in SIDES:
            command = [sys.executable, "-m", "bench.training_step", "--side", name]
            done = subprocess.run(  # noqa: S603 - our own program
                [*command, "--task", json.dumps(asdict(task))],
                check=True,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            runs[name].append(json.loads(done.stdout))
    return {name: _summary(found) for name, found in runs.items()}


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    times_ms = [value for run in runs for value in run["step_ms"]]
    return {
        "step_ms": round(statistics.median(times_ms), 2),
        "floor_bytes": max(run["floor_bytes"] for run in runs),
        "workload_bytes": max(run["peak_bytes"] - run["floor_bytes"] for run in runs),
    }


def task_of(
    folder: Path, variant: Variant, point: FrontierPoint, micro_batch: int | None = None
) -> Task:
    """Return the task of a point of the release in ``folder``; its micro-batch unless given."""
    plan = point.plan
    graph = next(g for g in variant.train_graphs if g.cut == plan.scope.cut)
    files = folder / FILES_FOLDER
    return Task(
        weights=str(files / variant.weights.sha256),
        graph=str(files / graph.artifact.sha256),
        spec=variant.spec.model_dump_json(),
        cut=plan.scope.cut,
        trainable=graph.trainable,
        frozen=graph.frozen,
        px=plan.input_px,
        batch=plan.batch,
        micro_batch=micro_batch or plan.micro_batch,
    )


def main() -> None:
    """Compare every plan that was asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    parser.add_argument("--variant", help="only this variant")
    parser.add_argument("--cut", help="only this cut")
    parser.add_argument("--micro-batch", type=int, help="instead of the plan's; divides its batch")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        return child(SIDES[chosen.side], Task(**json.loads(chosen.task)))
    release = read_release(chosen.release)
    rows = []
    for point in release.points:
        if chosen.variant in (None, point.variant) and chosen.cut in (None, point.plan.scope.cut):
            variant = release.variant(point.variant)
            task = task_of(chosen.release, variant, point, chosen.micro_batch)
            about: dict[str, Any] = {"variant": variant.name, "cut": task.cut, "px": task.px}
            about |= {"batch": task.batch, "micro_batch": task.micro_batch}
            rows.append({**about, **compare(task)})
    conditions = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": 1,
        "load_average": os.getloadavg(),
        "steps": STEPS,
        "rounds": ROUNDS,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "onnxruntime", "numpy")},
    }
    sys.stdout.write(json.dumps({"conditions": conditions, "rows": rows}, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
