"""The lab's training pool: generated tiles and colourised DeepPCB crops, kept on disk.

Tiles are made once at one size, in resumable shards, and read through a memory map; smaller sizes
are made from it on first use. Validation boards and DeepPCB groups are apart from training ones by
construction. Real photographs never enter a pool, so what is trained on it may be shipped.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from models.data import deeppcb
from models.data.generator import DEFECT_KINDS, generate_tile

SHARD_TILES = 500
VALIDATION_BOARD_SEEDS = 8000
"""Board seeds from here on are validation boards; training boards lie below."""


@dataclass(frozen=True, kw_only=True)
class PoolRecipe:
    """What the pool holds. Half of the generated tiles are ``ok``."""

    generated: int = 24_000
    generated_boards: int = 2_000
    validation: int = 2_000
    validation_boards: int = 100
    deeppcb_crops: int = 8_000
    deeppcb_validation_group: str = "20085"
    px: int = 224
    seed: int = 0


class Pool:
    """A finished pool: uint8 tiles [N, px, px, 3] and int64 labels [N], by part."""

    def __init__(self, folder: Path, recipe: PoolRecipe) -> None:
        self._folder = folder
        self._recipe = recipe

    def training(self, px: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images and labels to train on, at ``px``."""
        return self._part("training", px)

    def validation(self, px: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images and labels of boards and scans that training never sees."""
        return self._part("validation", px)

    def describe(self) -> dict[str, object]:
        """Return what the pool was made from."""
        return asdict(self._recipe)

    def _part(self, part: str, px: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.load(self._folder / f"{part}-labels.npy")
        path = self._folder / f"{part}-{px}.npy"
        if not path.exists():
            self._resize(part, px, path)
        return np.load(path, mmap_mode="r"), labels

    def _resize(self, part: str, px: int, path: Path) -> None:
        large = np.load(self._folder / f"{part}-{self._recipe.px}.npy", mmap_mode="r")
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        shape = (len(large), px, px, 3)
        small = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        for row, tile in enumerate(large):
            small[row] = cv2.resize(tile, (px, px), interpolation=cv2.INTER_AREA)
        small.flush()
        temporary.replace(path)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A run of tiles of one part, made by one worker."""

    name: str
    part: str
    source: str
    first: int
    count: int


def build_pool(
    folder: Path, recipe: PoolRecipe, report: Callable[[int, int], None], *, workers: int = 1
) -> Pool:
    """Make the pool, or what is missing of it; ``report(done_shards, shards)``.

    DeepPCB crops are left out, and the record says so, where the scans are not beside the project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not deeppcb.default_root().is_dir():
        recipe = PoolRecipe(**(asdict(recipe) | {"deeppcb_crops": 0}))
    record = folder / "pool.json"
    if record.exists() and json.loads(record.read_text()) == asdict(recipe):
        return Pool(folder, recipe)
    shards = _shards(recipe)
    with ProcessPoolExecutor(workers) as executor:
        made = (executor.submit(_make_shard, folder, recipe, shard) for shard in shards)
        for done, future in enumerate(list(made), start=1):
            future.result()
            report(done, len(shards))
    for part in ("training", "validation"):
        _join(folder, recipe, part, [s for s in shards if s.part == part])
    record.write_text(json.dumps(asdict(recipe)))
    return Pool(folder, recipe)
