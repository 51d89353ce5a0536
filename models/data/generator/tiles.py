"""Generated tiles: one, or an array of many.

The same seeds give the same tile wherever numpy and OpenCV have the same versions. A board seed
outside those that a network was trained on stands for a board it never saw.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.data.generator.canvas import Layout
from models.data.generator.defects import DEFECT_KINDS, apply_defect
from models.data.generator.geometry import Mask, chance
from models.data.generator.layout import Scene, draw_layout
from models.data.generator.render import Image, render
from models.data.generator.style import BoardStyle, board_style

OK_LABEL = "ok"
DEFECT_LABEL = "defect"
CLASSES = (OK_LABEL, DEFECT_LABEL)
GRID = 16
"""Cells a side in which a defect is located."""

Where = npt.NDArray[np.bool_]

_CELL_LEVEL = 24

_OVERSAMPLING = 1.5
_CANVAS_PX = 192
_PORTRAIT_SHARE = 0.3
_ATTEMPTS = 8
_KIND_SHARES = (0.16, 0.16, 0.18, 0.16, 0.14, 0.07, 0.13)
_SCENES = {
    OK_LABEL: Scene(plain_share=0.1, sparse_share=0.25, edge_share=0.2),
    DEFECT_LABEL: Scene(plain_share=0.03, sparse_share=0.2, edge_share=0.08),
}


class UnknownLabelError(ValueError):
    """A label that is neither ``ok``, ``defect`` nor one of the defect kinds."""

    def __init__(self, label: str) -> None:
        self.label = label
        known = ", ".join((*CLASSES, *DEFECT_KINDS))
        super().__init__(f"unknown label {label!r}: use one of {known}")


class Tile(NamedTuple):
    """A photograph, uint8 [px, px, 3] RGB, and where its defect is.

    ``where`` [16, 16] is True in the cells of a regular grid that the defect touches.
    """

    image: Image
    where: Where


class TileSet(NamedTuple):
    """Tiles in arrays: images uint8 [N, px, px, 3], labels [N] (0 ok, 1 defect), board seeds [N].

    ``where`` bool [N, 16, 16] marks the cells that each defect touches.
    """

    images: Image
    labels: npt.NDArray[np.int64]
    boards: npt.NDArray[np.int64]
    where: Where


def generate_tile(board_seed: int, tile_seed: int, label: str, px: int) -> Image:
    """Return one tile, uint8 [px, px, 3], RGB.

    ``label`` is ``ok``, ``defect`` (a kind is drawn) or a kind from ``DEFECT_KINDS`` (a layout is
    sought on which it can show). Raises `UnknownLabelError`.
    """
    return located_tile(board_seed, tile_seed, label, px).image


def located_tile(board_seed: int, tile_seed: int, label: str, px: int) -> Tile:
    """Return the tile of `generate_tile` with the cells that its defect touches.

    For one pair of seeds, the ``ok`` and the defective tile mostly show the same place.
    """
    if label not in CLASSES and label not in DEFECT_KINDS:
        raise UnknownLabelError(label)
    style = board_style(board_seed)
    layout_rng, defect_rng, camera_rng = (
        np.random.default_rng((stream, board_seed, tile_seed)) for stream in (1, 2, 3)
    )
    for _ in range(_ATTEMPTS):
        layout = _layout(style, layout_rng, label, px)
        if label == OK_LABEL or _break(layout, label, defect_rng):
            break
    return Tile(render(layout.masks, style, camera_rng, px), cells(layout.masks.patch))


def tiles(seed: int, count: int, px: int, boards: Sequence[int]) -> TileSet:
    """Return ``count`` tiles, ok and defect in turn; each two share a board and a tile seed.

    Boards are drawn by ``seed``; memory is N * px * px * 3 bytes.
    """
    rng = np.random.default_rng((4, seed))
    pairs = -(-count // len(CLASSES))
    owners = np.asarray(boards, np.int64)[rng.integers(len(boards), size=pairs)].repeat(2)[:count]
    seeds = rng.integers(2**62, size=pairs).repeat(2)[:count]
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.empty((count, px, px, 3), np.uint8)
    where = np.empty((count, GRID, GRID), np.bool_)
    for k in range(count):
        tile = located_tile(int(owners[k]), int(seeds[k]), CLASSES[labels[k]], px)
        images[k], where[k] = tile
    return TileSet(images, labels, owners, where)


def cells(patch: Mask) -> Where:
    """Return which cells of the grid hold a noticeable part of the mask."""
    shares = cv2.resize(patch, (GRID, GRID), interpolation=cv2.INTER_AREA)
    found: Where = shares > _CELL_LEVEL
    return found


def _layout(style: BoardStyle, rng: np.random.Generator, label: str, px: int) -> Layout:
    """Draw a layout on a canvas of the board's own aspect, a little larger than the photograph."""
    stretch = float(np.sqrt(style.aspect))
    if chance(rng, _PORTRAIT_SHARE):
        stretch = 1 / stretch
    side = max(px, min(px * _OVERSAMPLING, _CANVAS_PX))
    scene = _SCENES[OK_LABEL if label == OK_LABEL else DEFECT_LABEL]
    return draw_layout(style, rng, round(side * stretch), round(side / stretch), scene)


def _break(layout: Layout, label: str, rng: np.random.Generator) -> bool:
    """Put the asked defect on the layout, or, for ``defect``, the first drawn one that fits."""
    if label != DEFECT_LABEL:
        return apply_defect(layout.masks, label, layout.track, rng)
    order = rng.choice(len(DEFECT_KINDS), len(DEFECT_KINDS), replace=False, p=_KIND_SHARES)
    return any(apply_defect(layout.masks, DEFECT_KINDS[k], layout.track, rng) for k in order)
