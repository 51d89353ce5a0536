"""Rows of pads with their holes, and the tracks that leave them side by side."""

import cv2
import numpy as np

from models.data.generator import geometry
from models.data.generator.canvas import Layout, in_canvas, via
from models.data.generator.dressing import print_row_box
from models.data.generator.geometry import Mask, Points, chance


def draw_components(layout: Layout) -> None:
    """Rows of pads, each with the tracks that leave it."""
    for _ in range(int(layout.rng.choice((0, 1, 2, 3), p=(0.25, 0.35, 0.3, 0.1)))):
        _pad_row(layout)


def _pad_row(layout: Layout) -> None:
    style, rng = layout.style, layout.rng
    size = layout.track * style.pad_scale
    pitch = max(size * style.pad_pitch, layout.track + layout.gap * 1.2)
    along = int(rng.choice((0, 2)))
    start = layout.anywhere(-0.1)
    if chance(rng, 0.3):
        start[1 if along == 0 else 0] = rng.choice((0.0, layout.size[1 if along == 0 else 0]))
    shape = str(rng.choice(style.pad_shapes))
    centres = [start + k * pitch * geometry.direction(along) for k in range(_row_length(rng))]
    placed = [
        c
        for k, c in enumerate(centres)
        if _pad(layout, c, size, "square" if k == 0 and chance(rng, 0.3) else shape, along)
    ]
    if placed and chance(rng, 0.8):
        _escapes(layout, placed, along)
    layout.take()
    if placed and chance(rng, style.silk_share):
        print_row_box(layout, placed, size)


def _row_length(rng: np.random.Generator) -> int:
    return int(rng.choice((1, 2, 3, 4, 6, 9), p=(0.25, 0.2, 0.15, 0.15, 0.15, 0.1)))


def _pad(layout: Layout, centre: Points, size: float, shape: str, along: int) -> bool:
    """Draw one pad with its hole, unless the place is taken."""
    if not in_canvas(layout, centre, size):
        return False
    scratch = np.zeros_like(layout.taken)
    _pad_shape(scratch, centre, size + layout.gap, shape, along)
    if cv2.countNonZero(cv2.bitwise_and(scratch, layout.taken)):
        return False
    for mask in (layout.masks.pad, layout.masks.copper):
        _pad_shape(mask, centre, size, shape, along)
    if shape != "rect":
        radius = size * 0.5 * layout.style.hole_ratio
        geometry.draw_disc(layout.masks.hole, centre, radius)
        layout.masks.holes.append((centre, radius))
    return True


def _pad_shape(mask: Mask, centre: Points, size: float, shape: str, along: int) -> None:
    across = geometry.direction(along + 2)
    if shape == "round":
        geometry.draw_disc(mask, centre, size / 2)
    elif shape == "oval":
        reach = across * size * 0.32
        geometry.draw_line(mask, np.array([centre - reach, centre + reach]), size * 0.92)
    elif shape == "square":
        geometry.draw_polygon(mask, geometry.bar(centre, across, size, size))
    else:
        geometry.draw_polygon(mask, geometry.bar(centre, across, size * 1.5, size * 0.8))


def _escapes(layout: Layout, pads: list[Points], along: int) -> None:
    """Tracks that leave a row of pads side by side, bending together."""
    rng = layout.rng
    heading = along + int(rng.choice((2, -2)))
    first = float(rng.uniform(0.1, 0.6)) * layout.side
    turn = int(rng.choice((-1, 0, 0, 1)))
    width = layout.track * float(rng.uniform(0.7, 1.0))
    for k, pad in enumerate(pads):
        if chance(rng, 0.25):
            continue
        legs = [first + k * layout.track * 0.4 * turn, 3 * layout.side]
        if chance(rng, 0.2):
            legs = [first * float(rng.uniform(0.5, 1.5))]
        line = geometry.walk(pad, heading, legs, [turn])
        clear = layout.track * layout.style.pad_scale / 2 + layout.gap + width
        if layout.try_line(line, width, skip_px=clear):
            _finish(layout, line, pad, width)


def _finish(layout: Layout, line: Points, pad: Points, width: float) -> None:
    end = line[-1]
    if len(line) == 2 and in_canvas(layout, end, 0):  # noqa: PLR2004  (a straight stub)
        via(layout, end)
    if layout.style.teardrop:
        step = (line[1] - line[0]) / max(float(np.hypot(*(line[1] - line[0]))), 1e-9)
        root = layout.track * layout.style.pad_scale * 0.8
        side = np.array([-step[1], step[0]])
        tip = pad + step * root * 2.2
        corners = np.array([pad - side * root / 2, pad + side * root / 2,
                            tip + side * width / 2, tip - side * width / 2])  # fmt: skip
        geometry.draw_polygon(layout.masks.copper, corners)
