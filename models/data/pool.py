"""The lab's training pool: generated tiles and colourised DeepPCB crops, kept on disk.

Tiles are made once at one size, in resumable shards, and read through a memory map; smaller sizes
are made from it on first use. Validation boards and DeepPCB groups are apart from training ones by
construction. Real photographs never enter a pool, so what is trained on it may be shipped.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from models.data import deeppcb
from models.data.generator.tiles import GRID, TileSet, tiles

SHARD_TILES = 500
VALIDATION_BOARD_SEEDS = 8000
"""Board seeds from here on are validation boards; training boards lie below."""
OTHER_BOARD_SEEDS = 9000
"""Board seeds from here on are in no pool: points are measured on them, and the demo shows one."""
RECORD_FILE = "pool.json"
MAKING_FILE = "pool-making.json"


class BoardsOverlapError(ValueError):
    """A pool would train on boards that are kept for validating or measuring."""

    def __init__(self, boards: int, validation_boards: int) -> None:
        super().__init__(
            f"{boards} training and {validation_boards} validation boards are too many: at most "
            f"{VALIDATION_BOARD_SEEDS} and {OTHER_BOARD_SEEDS - VALIDATION_BOARD_SEEDS}"
        )


@dataclass(frozen=True, kw_only=True)
class PoolRecipe:
    """What the pool holds. Half of the generated tiles are ``ok``."""

    generated: int = 16_000
    generated_boards: int = 2_000
    validation: int = 1_000
    validation_boards: int = 100
    deeppcb_crops: int = 2_500
    deeppcb_validation_group: str = "20085"
    px: int = 224
    seed: int = 0
    drawing: int = 2
    """Raised whenever generator or crops draw other pictures: a stale pool is then made anew."""

    def __post_init__(self) -> None:
        last = VALIDATION_BOARD_SEEDS + self.validation_boards
        if self.generated_boards > VALIDATION_BOARD_SEEDS or last > OTHER_BOARD_SEEDS:
            raise BoardsOverlapError(self.generated_boards, self.validation_boards)


class Tiles(NamedTuple):
    """Images uint8 [N, px, px, 3], labels int64 [N], where the defect is bool [N, GRID, GRID]."""

    images: np.ndarray
    labels: np.ndarray
    where: np.ndarray


class Pool:
    """A finished pool, by part and at any size."""

    def __init__(self, folder: Path, recipe: PoolRecipe) -> None:
        self._folder = folder
        self._recipe = recipe

    def training(self, px: int) -> Tiles:
        """Return the tiles to train on, at ``px``."""
        return self._part("training", px)

    def validation(self, px: int) -> Tiles:
        """Return tiles of boards and scans that training never sees."""
        return self._part("validation", px)

    def describe(self) -> dict[str, object]:
        """Return what the pool was made from."""
        return asdict(self._recipe)

    def _part(self, part: str, px: int) -> Tiles:
        path = self._folder / f"{part}-{px}.npy"
        if not path.exists():
            self._resize(part, px, path)
        labels, where = (
            np.load(self._folder / f"{part}-{name}.npy") for name in ("labels", "where")
        )
        return Tiles(np.load(path, mmap_mode="r"), labels, where)

    def _resize(self, part: str, px: int, path: Path) -> None:
        large = np.load(self._folder / f"{part}-{self._recipe.px}.npy", mmap_mode="r")
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        shape = (len(large), px, px, 3)
        try:
            small = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            for row, tile in enumerate(large):
                small[row] = cv2.resize(tile, (px, px), interpolation=cv2.INTER_AREA)
            small.flush()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A run of tiles of one part and source, made by one worker from its own seed."""

    part: str
    source: str
    seed: int
    count: int

    def path(self, folder: Path) -> Path:
        return folder / f"{self.part}-{self.source}-{self.seed}.npz"


def build_pool(
    folder: Path,
    recipe: PoolRecipe,
    report: Callable[[int, int], None],
    *,
    workers: int = 1,
    shard_tiles: int = SHARD_TILES,
) -> Pool:
    """Make the pool, or what is missing of it; ``report(done_shards, shards)``.

    What was made by another recipe is dropped. DeepPCB crops are left out, and the record says so,
    where the scans are not beside the project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not deeppcb.default_root().is_dir():
        recipe = replace(recipe, deeppcb_crops=0)
    shards = _shards(recipe, shard_tiles)
    if _recipe_in(folder / RECORD_FILE) != asdict(recipe):
        _drop_other_recipes(folder, recipe)
        for done, _ in enumerate(_made(folder, recipe, shards, workers), start=1):
            report(done, len(shards))
        for part in ("training", "validation"):
            _join(folder, recipe, part, [s for s in shards if s.part == part])
        _write_recipe(folder / RECORD_FILE, recipe)
    for shard in shards:
        shard.path(folder).unlink(missing_ok=True)
    return Pool(folder, recipe)


def _recipe_in(path: Path) -> object:
    """Return the recipe that a file holds; None where there is none or it is torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_recipe(path: Path, recipe: PoolRecipe) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(recipe)))
    temporary.replace(path)


def _drop_other_recipes(folder: Path, recipe: PoolRecipe) -> None:
    """Drop shards, joined tiles and smaller sizes unless this very recipe is being made."""
    if _recipe_in(folder / MAKING_FILE) == asdict(recipe):
        return
    for stale in (*folder.glob("*.npz"), *folder.glob("*.npy"), folder / RECORD_FILE):
        stale.unlink(missing_ok=True)
    _write_recipe(folder / MAKING_FILE, recipe)


def _made(
    folder: Path, recipe: PoolRecipe, shards: Sequence[_Shard], workers: int
) -> Iterator[None]:
    """Make the shards that are missing, yielding after each; the rest is dropped on an error."""
    if workers == 1:
        for shard in shards:
            _make_shard(folder, recipe, shard)
            yield
        return
    # A forked child would inherit torch's threads in whatever state they are.
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        for future in [executor.submit(_make_shard, folder, recipe, s) for s in shards]:
            yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _shards(recipe: PoolRecipe, shard_tiles: int) -> list[_Shard]:
    wanted = (
        ("training", "generated", recipe.generated),
        ("training", "deeppcb", recipe.deeppcb_crops),
        ("validation", "generated", recipe.validation),
        ("validation", "deeppcb", recipe.validation // 2 if recipe.deeppcb_crops else 0),
    )
    shards: list[_Shard] = []
    for part, source, tiles_wanted in wanted:
        for first in range(0, tiles_wanted, shard_tiles):
            count = min(shard_tiles, tiles_wanted - first)
            seed = recipe.seed + 10_000 * len(shards)
            shards.append(_Shard(part=part, source=source, seed=seed, count=count))
    return shards


def _make_shard(folder: Path, recipe: PoolRecipe, shard: _Shard) -> None:
    cv2.setNumThreads(1)
    path = shard.path(folder)
    if path.exists():
        return
    drawn = _draw(recipe, shard)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, images=drawn.images, labels=drawn.labels, where=drawn.where)
    temporary.replace(path)


def _draw(recipe: PoolRecipe, shard: _Shard) -> TileSet:
    validation = shard.part == "validation"
    first = VALIDATION_BOARD_SEEDS if validation else 0
    boards = recipe.validation_boards if validation else recipe.generated_boards
    styles = range(first, first + boards)
    if shard.source == "generated":
        return tiles(shard.seed, shard.count, recipe.px, styles)
    pairs = deeppcb.load_pairs(deeppcb.default_root())
    training, held_out = deeppcb.by_group(pairs, [recipe.deeppcb_validation_group])
    chosen = held_out if validation else training
    return deeppcb.tiles(chosen, shard.seed, shard.count, recipe.px, styles)


def _join(folder: Path, recipe: PoolRecipe, part: str, shards: list[_Shard]) -> None:
    """Put a part's shards into one array that can be mapped."""
    count = sum(shard.count for shard in shards)
    temporary = folder / f"{part}.tmp"
    images = np.lib.format.open_memmap(temporary, "w+", np.uint8, (count, recipe.px, recipe.px, 3))
    labels, where = np.empty(count, np.int64), np.empty((count, GRID, GRID), np.bool_)
    first = 0
    for shard in shards:
        rows = slice(first, first + shard.count)
        with np.load(shard.path(folder)) as stored:
            images[rows], labels[rows] = stored["images"], stored["labels"]
            where[rows] = stored["where"]
        first += shard.count
    images.flush()
    np.save(folder / f"{part}-labels.npy", labels)
    np.save(folder / f"{part}-where.npy", where)
    temporary.replace(folder / f"{part}-{recipe.px}.npy")
