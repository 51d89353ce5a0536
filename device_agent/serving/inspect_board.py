"""Looks at a whole board: every tile is judged here, and the answer is one JSON and one picture.

The cloud is never asked: a board's tiles are a whole board. One model judges all tiles.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psutil

from device_agent.errors import BadImageError
from device_agent.serving.batches import batch_for, judge
from device_agent.serving.board import Board
from device_agent.serving.predict import LocalModel
from device_agent.serving.tiling import (
    Finding,
    Grid,
    HeatMap,
    Merge,
    find_boxes,
    make_grid,
    merge_scores,
)
from device_agent.training.cgroup import cgroup_limit_bytes

OK = "ok"
MOST_TILES = 200_000
_RESERVE_BYTES = 64_000_000
Show = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Shows progress: called with the number of tiles and what they are, yields what counts them."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How to look. ``tile_px`` None: as large as the model's input."""

    tile_px: int | None = None
    overlap: float = 0.5
    threshold: float = 0.5
    merge: Merge = "max"


@dataclass(frozen=True)
class Inspection:
    """``facts`` are ready for JSON; the heat and the boxes are drawn."""

    facts: dict[str, Any]
    heat_map: HeatMap
    found: list[Finding]


def inspect_board(
    model: LocalModel,
    board: Board,
    manner: Manner,
    free_bytes: int,
    show: Show,
) -> Inspection:
    """Judge a board. Raises BadImageError for too many tiles, ModelFailedError."""
    start = time.perf_counter()
    tile_px = manner.tile_px or model.manifest.input_px
    grid = make_grid(board.width, board.height, tile_px, manner.overlap)
    if len(grid.columns) * len(grid.rows) > MOST_TILES:
        message = f"that makes over {MOST_TILES} tiles; take larger ones, or less overlap"
        raise BadImageError(message)
    scores = _scores(model, board, grid, free_bytes, show)
    heat_map = merge_scores(grid, scores, manner.merge)
    found = find_boxes(heat_map, manner.threshold)
    facts = {
        "width": board.width,
        "height": board.height,
        **_model(model),
        "tile_px": tile_px,
        "overlap": manner.overlap,
        "merge": manner.merge,
        "threshold": manner.threshold,
        "label": "defect" if found else OK,
        "boxes": [_box(finding) for finding in found],
        "grid": {
            "x": [left for left, _ in grid.columns],
            "y": [top for top, _ in grid.rows],
            "scores": [[round(score, 6) for score in line] for line in scores],
        },
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Inspection(facts, heat_map, found)


def _model(model: LocalModel) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "model_id": manifest.model_id,
        "variant": manifest.variant,
        "release_number": manifest.release_number,
        "input_px": manifest.input_px,
    }


def _box(finding: Finding) -> dict[str, Any]:
    box = finding.box
    return {
        "x": box.left,
        "y": box.top,
        "width": box.right - box.left,
        "height": box.bottom - box.top,
        "score": round(finding.score, 6),
    }


def _scores(
    model: LocalModel,
    board: Board,
    grid: Grid,
    free_bytes: int,
    show: Show,
) -> list[list[float]]:
    """Return the chance of anything but ``ok`` for every tile, row by row of the grid."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    manifest, n_columns = model.manifest, len(grid.columns)
    px = manifest.input_px
    batch = batch_for(model.session, px, free_bytes)
    tiles = grid.tiles
    scores: list[float] = []
    with show(len(tiles), "tiles") as advance:
        for start in range(0, len(tiles), batch):
            part = tiles[start : start + batch]
            pixels = np.stack([board.tile(tile, px, manifest.in_channels) for tile in part])
            rows = judge(model, pixels, batch)
            scores += [score_of(dict(zip(manifest.classes, row, strict=True))) for row in rows]
            advance(len(part))
    return [scores[at : at + n_columns] for at in range(0, len(scores), n_columns)]


def score_of(chances: dict[str, float]) -> float:
    """Return the chance that a tile is not ``ok``."""
    return float(min(max(1.0 - chances.get(OK, 0.0), 0.0), 1.0))


def free_bytes(available: int, cgroup_limit: int | None, cap: int | None, own: int) -> int:
    """Return what may still be taken: the tightest of the box, its control group and the cap.

    ``own`` is what this process has already; 64 MB are left for everything else.
    """
    rooms = [available, *(limit - own for limit in (cgroup_limit, cap) if limit is not None)]
    return max(0, min(rooms) - _RESERVE_BYTES)


def free_here(cap: int | None) -> int:
    """Return what this process may still take on this box."""
    own = int(psutil.Process().memory_info().rss)
    return free_bytes(psutil.virtual_memory().available, cgroup_limit_bytes(), cap, own)
