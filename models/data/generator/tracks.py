"""Bundles of parallel tracks across the tile, with bends, ends and branches."""

import numpy as np

from models.data.generator import geometry
from models.data.generator.canvas import Layout, in_canvas, via
from models.data.generator.geometry import Points, chance


def draw_tracks(layout: Layout, *, few: bool) -> None:
    """Bundles of parallel tracks across the tile, and branches off some of them."""
    for _ in range(int(layout.rng.integers(1, 3) if few else layout.rng.integers(3, 8))):
        _bundle(layout)


def _bundle(layout: Layout) -> None:
    style, rng = layout.style, layout.rng
    heading = layout.heading()
    count = int(rng.choice((1, 2, 3, 4, 6, 8), p=(0.3, 0.2, 0.18, 0.14, 0.1, 0.08)))
    width = layout.track * float(rng.uniform(0.75, 1.25))
    pitch = width + layout.gap * float(rng.uniform(1.0, 1.5))
    spine = _spine(layout, heading, count * pitch)
    stop = chance(rng, 0.3)
    for k in range(count):
        line = geometry.shifted(spine, (k - (count - 1) / 2) * pitch)
        if stop:
            line = _stopped(line, k * pitch * 0.5)
        if layout.try_line(line, width):
            if stop and chance(rng, 0.8):
                via(layout, line[-1])
            if chance(rng, style.junction_share * 0.6):
                _branch(layout, line, width)
    layout.take()


def _spine(layout: Layout, heading: int, breadth_px: float) -> Points:
    """Draw a polyline through the tile: it comes from outside and, mostly, leaves again."""
    rng = layout.rng
    bends = int(rng.choice((0, 1, 2), p=(0.4, 0.25, 0.35)))
    turn = int(rng.choice((-1, 1)))
    turns = [turn, turn if chance(rng, 0.6) else -turn][:bends]
    legs = [float(rng.uniform(0.15, 0.5)) * layout.side + 0.5 * breadth_px for _ in range(bends)]
    start = layout.anywhere() - geometry.direction(heading) * 2 * layout.side
    return geometry.walk(start, heading, [2 * layout.side, *legs[1:], 2.5 * layout.side], turns)


def _stopped(line: Points, back_px: float) -> Points:
    """Return the polyline ending a random-looking bit after its last bend, inside the tile."""
    step = line[-1] - line[-2]
    unit = step / max(float(np.hypot(*step)), 1e-9)
    end = line[-2] + unit * (back_px + 0.12 * float(np.hypot(*step)) / 2.5)
    return np.concatenate([line[:-1], end[None]])


def _branch(layout: Layout, line: Points, width: float) -> None:
    """Draw a T junction that belongs there: it ends at a via or leaves the tile."""
    rng = layout.rng
    k = int(rng.integers(len(line) - 1))
    span = line[k + 1] - line[k]
    root = line[k] + span * float(rng.uniform(0.2, 0.8))
    if not in_canvas(layout, root, 0):
        return
    heading = round(float(np.arctan2(span[1], span[0])) / (np.pi / 4)) + int(rng.choice((2, -2)))
    reach = (3.0 if chance(rng, 0.6) else float(rng.uniform(0.15, 0.4))) * layout.side
    branch = geometry.walk(root, heading, [reach], [])
    if layout.try_line(branch, width, skip_px=width * 1.5 + layout.gap) and reach < layout.side:
        via(layout, branch[-1])
