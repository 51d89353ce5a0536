"""The lab's recipe in torch: one variant, from scratch, on a pool of tiles.

Top to bottom: data, network, loop, save. The best checkpoint on boards held out of training is
kept (never the last one, which on small networks is a lottery). A stopped run continues from its
last evaluation. It does not export, measure or release.

Defects are a few pixels of a tile, and the label alone says little about where to look. So while
it trains, a 1x1 convolution on the last feature map must also say in which cells the defect lies;
the generator knows. It is thrown away afterwards: the network that is kept is the spec's own.
"""

import ctypes
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
from models.light import Light, relight
from models.metrics import auc, balanced_accuracy
from models.networks import Network, build

WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "train.json"
CHECKPOINT_FILE = "train-checkpoint.safetensors"

# mallopt(3): no block is mapped by itself, and nothing freed goes back to the kernel.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a variant is trained. ``steps`` optimiser steps of ``batch`` tiles, AdamW, one cycle."""

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.05
    localisation_weight: float = 2.0
    light: Light = "near"
    evaluate_every: int = 100
    threads: int = 1
    seed: int = 0


@dataclass(kw_only=True)
class _Progress:
    step: int = 0
    best_step: int = 0
    best_auc: float = -1.0
    best_accuracy: float = 0.0
    seconds: float = 0.0


class OtherWeightsError(RuntimeError):
    """A file of weights that belongs to another network."""

    def __init__(self, path: Path, differing: list[str]) -> None:
        shown = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")  # noqa: PLR2004
        super().__init__(
            f"{path} does not belong to this network: {len(differing)} tensors are missing or of "
            f"another shape ({shown}); give the folder that this network was trained into"
        )
        self.path = path
        self.differing = tuple(differing)


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
    start: Path | None = None,
) -> dict[str, object]:
    """Train ``spec`` on ``pool`` and write weights and a record into ``out_dir``.

    ``start`` names weights to begin with, of the same network at any size; None begins afresh.
    ``report(done_steps, total_steps, text)`` is called after every step. Returns the record. A
    resumed run ends with the same weights as one that was never stopped. Raises
    LossNotFiniteError; on it, and on a kill, the last checkpoint stays usable.
    """
    _keep_freed_memory()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    network = build(spec, channels_last=True)
    if start:
        load_weights(network, start)
    where = Localiser(network)
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *where.parameters()],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    progress = _resume(out_dir, (network, where), optimiser)
    started = time.perf_counter() - progress.seconds
    batches = _batches(pool, spec.input_px, recipe, first_step=progress.step)
    for step in range(progress.step, recipe.steps):
        _set_rate(optimiser, recipe, step)
        torch.manual_seed(recipe.seed + step)  # a resumed run drops out what a whole one does
        loss = _step(network, where, optimiser, next(batches), recipe)
        if not math.isfinite(loss):
            raise LossNotFiniteError(step)
        progress.step = step + 1
        report(step + 1, recipe.steps, f"loss {loss:.3f}, best AUC {progress.best_auc:.3f}")
        if progress.step % recipe.evaluate_every == 0 or progress.step == recipe.steps:
            progress.seconds = time.perf_counter() - started
            _evaluate(network, pool, spec.input_px, progress, out_dir)
            _save_checkpoint(out_dir, (network, where), optimiser, progress)
    return _write_record(spec, pool, recipe, progress, out_dir)


def _keep_freed_memory() -> None:
    """Let glibc reuse the large blocks of one step in the next instead of asking the kernel anew.

    Clearing fresh pages took 40 % of a step's CPU time: 0.26 s instead of 0.44 for rx-s-128, with
    12 % more memory. Does nothing where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, _NONE)


class Localiser(nn.Module):
    """Says for every cell of a network's last feature map whether a defect touches it."""

    _RARE = 8.0  # how much a touched cell counts against an untouched one

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._map: Tensor | None = None
        self.score = nn.Conv2d(network.feature_width, 1, 1)
        tail = network.get_submodule("tail.pool")
        tail.register_forward_pre_hook(self._keep)

    def _keep(self, _pool: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._map = inputs[0]

    def loss(self, where: Tensor) -> Tensor:
        """Return the loss of the forward pass just made; ``where`` is bool [N, GRID, GRID]."""
        if self._map is None:
            message = "the network has not run"
            raise RuntimeError(message)
        scores = self.score(self._map)
        cells = F.adaptive_max_pool2d(where.float()[:, None], scores.shape[-2:])
        rare = torch.tensor(self._RARE)
        return F.binary_cross_entropy_with_logits(scores, cells, pos_weight=rare)


def _step(
    network: nn.Module,
    localiser: Localiser,
    optimiser: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor, Tensor],
    recipe: Recipe,
) -> float:
    """Take one step and return the loss; NaN, and no step, where it or a gradient is not finite."""
    network.train()
    images, labels, where = batch
    loss = F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)
    if recipe.localisation_weight:
        loss = loss + recipe.localisation_weight * localiser.loss(where)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    if not torch.isfinite(norm):
        return math.nan
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
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images, labels, places; step k draws the same tiles in a resumed run as in a whole."""
    tiles = pool.training(px)
    by_class = [np.flatnonzero(tiles.labels == k) for k in range(int(tiles.labels.max()) + 1)]
    step = first_step
    while True:
        rng = np.random.default_rng((recipe.seed, step))
        share = -(-recipe.batch // len(by_class))
        rows = np.concatenate([rng.choice(choice, share) for choice in by_class])[: recipe.batch]
        turns = rng.integers(8, size=len(rows))
        images = _turned(tiles.images, rows, turns)
        where = torch.from_numpy(_turned(tiles.where, rows, turns))
        labels = torch.from_numpy(tiles.labels[rows])
        yield relight(to_network_input(images), recipe.light, rng), labels, where
        step += 1


def _turned(squares: np.ndarray, rows: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the rows, each turned and mirrored in one of eight ways: a defect is one from all."""
    return np.stack([_turn(squares[r], int(t)) for r, t in zip(rows, turns, strict=True)])


def _turn(square: np.ndarray, way: int) -> np.ndarray:
    turned = np.rot90(square, way % 4)
    return turned[:, ::-1] if way >= 4 else turned  # noqa: PLR2004  # mirrored after four turns


def to_network_input(tiles: np.ndarray) -> Tensor:
    """Scale uint8 NHWC to float32 NCHW in [-1, 1], channels last in memory."""
    scaled = torch.from_numpy(np.array(tiles)).float().div_(127.5).sub_(1.0)
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
    images, labels, _ = pool.validation(px)
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
    """Load what save_weights wrote; raises OtherWeightsError when names or shapes differ."""
    tensors = load_file(path)
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    differing = sorted(
        name
        for name in (wanted.keys() | tensors.keys()) - counters
        if name not in tensors or wanted.get(name) != tensors[name].shape
    )
    if differing:
        raise OtherWeightsError(path, differing)
    network.load_state_dict(tensors, strict=False)


def _save_checkpoint(
    out_dir: Path,
    modules: tuple[nn.Module, ...],
    optimiser: torch.optim.Optimizer,
    progress: _Progress,
) -> None:
    tensors = {
        f"module.{index}.{name}": value.contiguous()
        for index, module in enumerate(modules)
        for name, value in module.state_dict().items()
    }
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v.contiguous() for k, v in state.items()}
    path = out_dir / CHECKPOINT_FILE
    save_file(
        tensors, path.with_suffix(".tmp"), metadata={"progress": json.dumps(asdict(progress))}
    )
    path.with_suffix(".tmp").replace(path)


def _resume(
    out_dir: Path, modules: tuple[nn.Module, ...], optimiser: torch.optim.Optimizer
) -> _Progress:
    from safetensors import safe_open  # noqa: PLC0415  # only a resumed run reads metadata

    path = out_dir / CHECKPOINT_FILE
    if not path.exists():
        return _Progress()
    with safe_open(path, "pt") as stored:
        progress = _Progress(**json.loads(stored.metadata()["progress"]))
    tensors = load_file(path)
    for index, module in enumerate(modules):
        start = f"module.{index}."
        own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        module.load_state_dict(own)
    state: dict[int, dict[str, Tensor]] = {}
    for name in (k for k in tensors if k.startswith("optimiser.")):
        _, row, key = name.split(".", 2)
        state.setdefault(int(row), {})[key] = tensors[name]
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
    temporary = (out_dir / RECORD_FILE).with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(out_dir / RECORD_FILE)
    (out_dir / CHECKPOINT_FILE).unlink(missing_ok=True)
    return record
