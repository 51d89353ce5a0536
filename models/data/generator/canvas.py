"""What a tile is drawn on: its masks, what is taken already, and the lengths in pixels.

Two nets never touch: each new shape is tried on a scratch mask and dropped where it meets an older
one.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from models.data.generator import geometry
from models.data.generator.geometry import Mask, Points, chance
from models.data.generator.style import BoardStyle


@dataclass(kw_only=True)
class Masks:
    """Canvas-sized uint8 masks, 0 or 255. Copper is what is under the mask or the tin.

    ``void`` is a hole that did not open; ``patch`` is where a defect changed the copper, which
    the renderer may leave without relief.
    """

    copper: Mask
    pad: Mask
    hole: Mask
    via: Mask
    via_hole: Mask
    silk: Mask
    outside: Mask
    void: Mask
    patch: Mask
    holes: list[tuple[Points, float]] = field(default_factory=list)

    @classmethod
    def blank(cls, width: int, height: int) -> "Masks":
        layers = np.zeros((9, height, width), np.uint8)
        copper, pad, hole, via, via_hole, silk, outside, void, patch = layers
        return cls(
            copper=copper,
            pad=pad,
            hole=hole,
            via=via,
            via_hole=via_hole,
            silk=silk,
            outside=outside,
            void=void,
            patch=patch,
        )


class Layout:
    """The tile while it is drawn: its masks, what is taken, and the lengths in pixels."""

    def __init__(
        self, style: BoardStyle, rng: np.random.Generator, width: int, height: int
    ) -> None:
        self.style = style
        self.rng = rng
        self.size = np.array([width, height], dtype=np.float64)
        self.side = float(np.sqrt(width * height))
        self.track = max(2.0, style.track_width * self.side * float(rng.uniform(0.85, 1.2)))
        self.gap = max(2.0, self.track * style.track_gap)
        self.masks = Masks.blank(width, height)
        self.taken = np.zeros((height, width), np.uint8)
        self._scratch = np.zeros((height, width), np.uint8)

    def try_line(self, line: Points, width_px: float, *, skip_px: float = 0.0) -> bool:
        """Draw a track unless it comes within a gap of another; ``skip_px`` frees its start."""
        self._scratch[:] = 0
        test = line if skip_px == 0 else _without_start(line, skip_px)
        geometry.draw_line(self._scratch, test, width_px + 2 * self.gap * 0.8)
        if cv2.countNonZero(cv2.bitwise_and(self._scratch, self.taken)):
            return False
        geometry.draw_line(self.masks.copper, line, width_px)
        return True

    def take(self) -> None:
        """Mark all copper drawn so far as taken."""
        cv2.bitwise_or(self.taken, self.masks.copper, self.taken)

    def anywhere(self, margin: float = 0.0) -> Points:
        spot: Points = self.rng.uniform(margin, 1 - margin, 2) * self.size
        return spot

    def heading(self) -> int:
        """Draw a direction in eighths of a turn, mostly along the board's sides."""
        slanted = chance(self.rng, self.style.diagonal_share)
        return int(self.rng.choice((1, 3, 5, 7) if slanted else (0, 2, 4, 6)))


def in_canvas(layout: Layout, centre: Points, margin: float) -> bool:
    return bool(np.all(centre > -margin) and np.all(centre < layout.size + margin))


def via(layout: Layout, centre: Points) -> None:
    radius = layout.track * float(layout.rng.uniform(0.7, 1.0))
    geometry.draw_disc(layout.masks.copper, centre, radius * 1.15)
    if layout.style.via_tinned:
        geometry.draw_disc(layout.masks.pad, centre, radius)
        geometry.draw_disc(layout.masks.hole, centre, radius * 0.5)
        layout.masks.holes.append((centre, radius * 0.5))
    else:
        geometry.draw_disc(layout.masks.via, centre, radius * 0.7)
        geometry.draw_disc(layout.masks.via_hole, centre, radius * 0.35)


def _without_start(line: Points, skip_px: float) -> Points:
    step = line[1] - line[0]
    length = float(np.hypot(*step))
    start = line[0] + step * min(0.95, skip_px / max(length, 1e-9))
    return np.concatenate([start[None], line[1:]])
