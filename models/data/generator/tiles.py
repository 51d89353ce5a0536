"""Generated tiles: one, or an array of many.

The same seeds give the same tile wherever numpy and OpenCV have the same versions. A board seed
outside those that a network was trained on stands for a board it never saw.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.data.generator.defects import DEFECT_KINDS, apply_defect
from models.data.generator.layout import Layout, Scene, draw_layout
from models.data.generator.render import Image, render
from models.data.generator.style import BoardStyle, board_style

OK_LABEL = "ok"
DEFECT_LABEL = "defect"
CLASSES = (OK_LABEL, DEFECT_LABEL)

_OVERSAMPLING = 1.5
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


def generate_tile(board_seed: int, tile_seed: int, label: str, px: int) -> Image:
    """Return one tile, uint8 [px, px, 3], RGB.

    ``label`` is ``ok``, ``defect`` (a kind is drawn) or a kind from ``DEFECT_KINDS`` (a layout is
    sought on which it can show). Raises `UnknownLabelError`.
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
    return render(layout.masks, style, camera_rng, px)


def tiles(
    seed: int, count: int, px: int, boards: Sequence[int], *, defect_share: float = 0.5
) -> tuple[Image, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return ``count`` tiles: images uint8 [N, px, px, 3], labels (0 ok, 1 defect) and board seeds.

    Boards and labels are drawn by ``seed``; memory is N * px * px * 3 bytes.
    """
    rng = np.random.default_rng((4, seed))
    labels = (rng.random(count) < defect_share).astype(np.int64)
    owners = np.asarray(boards, np.int64)[rng.integers(len(boards), size=count)]
    seeds = rng.integers(2**62, size=count)
    images = np.empty((count, px, px, 3), np.uint8)
    for k in range(count):
        images[k] = generate_tile(int(owners[k]), int(seeds[k]), CLASSES[labels[k]], px)
    return images, labels, owners


def _layout(style: BoardStyle, rng: np.random.Generator, label: str, px: int) -> Layout:
    """A layout on a canvas of the board's own aspect, a little larger than the photograph."""
    stretch = float(np.sqrt(style.aspect))
    if rng.random() < _PORTRAIT_SHARE:
        stretch = 1 / stretch
    side = px * _OVERSAMPLING
    scene = _SCENES[OK_LABEL if label == OK_LABEL else DEFECT_LABEL]
    return draw_layout(style, rng, round(side * stretch), round(side / stretch), scene)


def _break(layout: Layout, label: str, rng: np.random.Generator) -> bool:
    """Put the asked defect on the layout, or, for ``defect``, the first drawn one that fits."""
    if label != DEFECT_LABEL:
        return apply_defect(layout.masks, label, layout.track, rng)
    order = rng.choice(len(DEFECT_KINDS), len(DEFECT_KINDS), replace=False, p=_KIND_SHARES)
    return any(apply_defect(layout.masks, DEFECT_KINDS[k], layout.track, rng) for k in order)
