"""Photographs a copper mask that came from elsewhere, such as a scan, in a board's style.

It dresses the mask with what scans lack (tinned pads, print, a board's edge) sparingly and without
changing the copper, so that a defect in it stays a defect.
"""

import cv2
import numpy as np

from models.data.generator.canvas import Masks
from models.data.generator.geometry import Mask, chance
from models.data.generator.render import render
from models.data.generator.style import board_style
from models.data.generator.tiles import Tile, cells

_OVERSAMPLING = 1.5
_PAD_THICKNESS = 1.35
_TIN_SHARE = 0.6


def photograph_copper(
    copper: Mask, changed: Mask | None, style_seed: int, rng: np.random.Generator, px: int
) -> Tile:
    """Return the photograph, uint8 [px, px, 3], of a square mask (0 or 255).

    ``changed`` marks a defect: the tile says in which cells, and the renderer may leave it without
    relief.
    """
    side = round(px * _OVERSAMPLING)
    masks = Masks.blank(side, side)
    masks.copper[:] = _resized(copper, side)
    if changed is not None:
        masks.patch[:] = cv2.dilate(_resized(changed, side), np.ones((3, 3), np.uint8))
    if chance(rng, _TIN_SHARE):
        _tin_wide_spots(masks)
    return Tile(render(masks, board_style(style_seed), rng, px), cells(masks.patch))


def _resized(mask: Mask, side: int) -> Mask:
    large = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
    return ((large > 127) * np.uint8(255)).astype(np.uint8)  # noqa: PLR2004  (half)


def _tin_wide_spots(masks: Masks) -> None:
    """Tin the small compact patches that are wider than the tracks: they are pads."""
    depth = cv2.distanceTransform(masks.copper, cv2.DIST_L2, 3)
    inner = depth[depth > 1]
    if not inner.size:
        return
    usual = float(np.median(inner)) * 2
    wide = (depth > usual * _PAD_THICKNESS).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(wide)
    for k in range(1, count):
        if stats[k, cv2.CC_STAT_AREA] < 0.02 * depth.size:  # a pour is no pad
            core = (labels == k).astype(np.uint8) * np.uint8(255)
            reach = 2 * round(usual * _PAD_THICKNESS) + 1
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
            tin = cv2.bitwise_and(cv2.dilate(core, kernel), masks.copper)
            cv2.bitwise_or(masks.pad, tin, masks.pad)
