"""The lab's recipe in torch: one variant, from scratch, on a pool of tiles.

Top to bottom: data, network, loop, save. The best checkpoint on boards held out of training is
kept (never the last one, which on small networks is a lottery). A stopped run continues from its
last evaluation. It does not export, measure or release.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from contract.architecture import ArchitectureSpec, spec_hash
from models.data.pool import Pool
from models.metrics import auc, balanced_accuracy
from models.networks import build

WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "train.json"
CHECKPOINT_FILE = "train-checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a variant is trained. ``steps`` optimiser steps of ``batch`` tiles, AdamW, one cycle."""

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.05
    evaluate_every: int = 200
    threads: int = 1
    seed: int = 0


@dataclass(kw_only=True)
class _Progress:
    step: int = 0
    best_step: int = 0
    best_auc: float = -1.0
    best_accuracy: float = 0.0
    seconds: float = 0.0


class LossNotFiniteError(RuntimeError):
    """Training produced a loss that is not a number."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the loss is not finite at step {step}; lower the learning rate and train again"
        )
        self.step = step


def train(
    spec: ArchitectureSpec,
    pool: Pool,
    recipe: Recipe,
    out_dir: Path,
    report: Callable[[int, int, str], None],
) -> dict[str, object]:
    """Train ``spec`` on ``pool`` and write weights and a record into ``out_dir``.

    ``report(done_steps, total_steps, text)`` is called after every step. Returns the record.
    Raises LossNotFiniteError; on it, and on a kill, the last checkpoint stays usable.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    network = build(spec, channels_last=True)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    progress = _resume(out_dir, network, optimiser)
    started = time.perf_counter() - progress.seconds
    batches = _batches(pool, spec.input_px, recipe, first_step=progress.step)
    for step in range(progress.step, recipe.steps):
        _set_rate(optimiser, recipe, step)
        loss = _step(network, optimiser, next(batches), recipe)
        if not math.isfinite(loss):
            raise LossNotFiniteError(step)
        progress.step = step + 1
        report(step + 1, recipe.steps, f"loss {loss:.3f}, best AUC {progress.best_auc:.3f}")
        if progress.step % recipe.evaluate_every == 0 or progress.step == recipe.steps:
            progress.seconds = time.perf_counter() - started
            _evaluate(network, pool, spec.input_px, progress, out_dir)
            _save_checkpoint(out_dir, network, optimiser, progress)
    return _write_record(spec, pool, recipe, progress, out_dir)


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    recipe: Recipe,
) -> float:
    network.train()
    images, labels = batch
    loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    warmup = max(1, int(recipe.steps * recipe.warmup_fraction))
    done = (step - warmup) / max(1, recipe.steps - warmup)
    scale = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = recipe.learning_rate * max(scale, 0.01)


def _batches(
    pool: Pool, px: int, recipe: Recipe, *, first_step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield scaled NCHW batches; step k draws the same tiles whether or not a run was resumed."""
    images, labels = pool.training(px)
    by_class = [np.flatnonzero(labels == k) for k in range(int(labels.max()) + 1)]
    step = first_step
    while True:
        rng = np.random.default_rng((recipe.seed, step))
        share = -(-recipe.batch // len(by_class))
        chosen = np.concatenate([rng.choice(rows, share) for rows in by_class])[: recipe.batch]
        tiles = np.stack([_augment(images[row], rng) for row in chosen])
        yield to_network_input(tiles), torch.from_numpy(labels[chosen])
        step += 1


def _augment(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn and mirror the square, and shift its light and contrast a little."""
    turned = np.rot90(tile, int(rng.integers(4)))
    if rng.random() < 0.5:  # noqa: PLR2004  # an even chance
        turned = turned[:, ::-1]
    gain, offset = rng.uniform(0.85, 1.15, 3), rng.uniform(-12, 12, 3)
    return np.clip(turned * gain + offset, 0, 255).astype(np.uint8)


def to_network_input(tiles: np.ndarray) -> Tensor:
    """Scale uint8 NHWC to float32 NCHW in [-1, 1], channels last in memory."""
    scaled = torch.from_numpy(np.ascontiguousarray(tiles)).float().div_(127.5).sub_(1.0)
    return scaled.permute(0, 3, 1, 2)


@torch.inference_mode()
def scores(network: nn.Module, images: np.ndarray, batch: int = 128) -> np.ndarray:
    """Return the defect score (softmax of the last class) for uint8 NHWC ``images``."""
    network.eval()
    parts = [
        F.softmax(network(to_network_input(images[i : i + batch])), dim=1)[:, -1]
        for i in range(0, len(images), batch)
    ]
    return np.asarray(torch.cat(parts).numpy())


def _evaluate(network: nn.Module, pool: Pool, px: int, progress: _Progress, out_dir: Path) -> None:
    images, labels = pool.validation(px)
    defect = scores(network, images)
    area = auc(labels, defect)
    if area > progress.best_auc:
        progress.best_auc = area
        progress.best_accuracy = balanced_accuracy(labels, (defect > 0.5).astype(np.int64))  # noqa: PLR2004
        progress.best_step = progress.step
        save_weights(network, out_dir / WEIGHTS_FILE)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write parameters and BatchNorm statistics by their state_dict names, atomically."""
    tensors = {
        name: value.detach().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary)
    temporary.replace(path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load what save_weights wrote; raises RuntimeError when names or shapes differ."""
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    lost = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lost or unexpected:
        message = f"{path} does not belong to this network: missing {lost}, extra {unexpected}"
        raise RuntimeError(message)


def _save_checkpoint(
    out_dir: Path, network: nn.Module, optimiser: torch.optim.Optimizer, progress: _Progress
) -> None:
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in state.items()}
    path = out_dir / CHECKPOINT_FILE
    save_file(
        tensors, path.with_suffix(".tmp"), metadata={"progress": json.dumps(asdict(progress))}
    )
    path.with_suffix(".tmp").replace(path)


def _resume(out_dir: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> _Progress:
    from safetensors import safe_open  # noqa: PLC0415  # only a resumed run reads metadata

    path = out_dir / CHECKPOINT_FILE
    if not path.exists():
        return _Progress()
    with safe_open(path, "pt") as stored:
        progress = _Progress(**json.loads(stored.metadata()["progress"]))
    tensors = load_file(path)
    network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name in (k for k in tensors if k.startswith("optimiser.")):
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = tensors[name]
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return progress


def _write_record(
    spec: ArchitectureSpec, pool: Pool, recipe: Recipe, progress: _Progress, out_dir: Path
) -> dict[str, object]:
    record: dict[str, object] = {
        "spec": spec_hash(spec),
        "recipe": asdict(recipe),
        "pool": pool.describe(),
        "best_step": progress.best_step,
        "validation_auc": round(progress.best_auc, 4),
        "validation_balanced_accuracy": round(progress.best_accuracy, 4),
        "seconds": round(progress.seconds, 1),
        "torch": torch.__version__,
    }
    (out_dir / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
    (out_dir / CHECKPOINT_FILE).unlink(missing_ok=True)
    return record
