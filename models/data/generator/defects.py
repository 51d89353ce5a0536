"""Seven ways in which a board's copper goes wrong, put where each happens.

The six of DeepPCB (open, short, mousebite, spur, spurious copper, pin-hole) and the missing hole.
Places are found on the copper mask itself, so the same code breaks a generated layout or a scanned
one. A defect that would not show is not drawn: the caller is told.
"""

from collections.abc import Callable

import cv2
import numpy as np

from models.data.generator import geometry
from models.data.generator.canvas import Masks
from models.data.generator.geometry import Mask, Points, chance

DEFECT_KINDS = (
    "open", "short", "mousebite", "spur", "spurious_copper", "pin_hole", "missing_hole",
)  # fmt: skip
_MIN_CHANGED_SHARE = 0.0006
_TRIES = 4


class Edges:
    """The rim of the copper (pads apart) with outward normals, and straight looks along them."""

    def __init__(self, masks: Masks) -> None:
        self.copper = masks.copper
        soft = cv2.GaussianBlur(masks.copper, (0, 0), 2.0)
        self._gx = cv2.Sobel(soft, cv2.CV_32F, 1, 0)
        self._gy = cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        rim = cv2.morphologyEx(masks.copper, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        rim[cv2.dilate(masks.pad | masks.via | masks.outside, np.ones((7, 7), np.uint8)) > 0] = 0
        rim[masks.copper == 0] = 0
        margin = max(1, round(0.02 * rim.shape[0]))
        rim[:margin] = rim[-margin:] = 0
        rim[:, :margin] = rim[:, -margin:] = 0
        self.ys, self.xs = np.nonzero(rim)

    def pick(self, rng: np.random.Generator) -> tuple[Points, Points] | None:
        """Return a point on the rim and the unit vector that points away from the copper."""
        if not len(self.ys):
            return None
        k = int(rng.integers(len(self.ys)))
        x, y = int(self.xs[k]), int(self.ys[k])
        normal = -np.array([self._gx[y, x], self._gy[y, x]], dtype=np.float64)
        length = float(np.hypot(*normal))
        return (np.array([x, y], float), normal / length) if length > 1 else None

    def run(self, start: Points, step: Points, limit_px: float, *, copper: bool) -> float | None:
        """How far from ``start`` along ``step`` the mask stays copper (or bare), if that ends."""
        reach = np.arange(1.0, limit_px)
        spots = np.round(start + reach[:, None] * step).astype(int)
        height, width = self.copper.shape
        ok = (spots >= 0).all(axis=1) & (spots[:, 0] < width) & (spots[:, 1] < height)
        spots, reach = spots[ok], reach[ok]
        other = np.nonzero((self.copper[spots[:, 1], spots[:, 0]] > 0) != copper)[0]
        return float(reach[other[0]]) if len(other) else None


Maker = Callable[[Masks, float, np.random.Generator], bool]


def apply_defect(masks: Masks, kind: str, track_px: float, rng: np.random.Generator) -> bool:
    """Break ``masks`` in place; False if the kind has no place on this tile.

    ``track_px`` is the usual track width in canvas pixels and sets the defect's size. Raises
    KeyError for a kind that is not in ``DEFECT_KINDS``.
    """
    maker = _MAKERS[kind]
    before = masks.copper.copy()
    need = _MIN_CHANGED_SHARE * before.size
    for _ in range(_TRIES):
        if maker(masks, track_px, rng):
            changed = cv2.bitwise_or(cv2.bitwise_xor(before, masks.copper), masks.void)
            if kind == "missing_hole" or cv2.countNonZero(changed) >= need:
                grown = cv2.dilate(changed, np.ones((3, 3), np.uint8))
                cv2.bitwise_or(masks.patch, grown, masks.patch)
                return True
            masks.copper[:] = before
    return False


def _open(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    edges = Edges(masks)
    for _ in range(6):
        found = edges.pick(rng)
        if found is None:
            return False
        spot, normal = found
        width = edges.run(spot, -normal, 2.2 * track_px, copper=True)
        if width is None:
            continue
        centre = spot - normal * width / 2
        along = np.array([-normal[1], normal[0]])
        tilt = float(rng.normal(0, 0.12))
        along = along * np.cos(tilt) + normal * np.sin(tilt)
        length = track_px * float(rng.uniform(0.35, 1.4))
        gap = geometry.bar(centre, along, max(2.0, length), width + 4)
        geometry.draw_polygon(masks.copper, gap, 0)
        return True
    return False


def _short(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    edges = Edges(masks)
    for _ in range(8):
        found = edges.pick(rng)
        if found is None:
            return False
        spot, normal = found
        span = edges.run(spot + normal, normal, 4.5 * track_px, copper=False)
        if span is None or span < 0.2 * track_px:
            continue
        tilt = float(rng.normal(0, 0.15))
        along = normal * np.cos(tilt) + np.array([-normal[1], normal[0]]) * np.sin(tilt)
        length = (span + 2) / max(np.cos(tilt), 0.5) + track_px * 0.5
        width = max(2.0, track_px * float(rng.uniform(0.3, 1.0)))
        middle = spot + normal * (span + 1) / 2
        geometry.draw_polygon(masks.copper, geometry.bar(middle, along, length, width))
        return True
    return False


def _mousebite(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    found = Edges(masks).pick(rng)
    if found is None:
        return False
    spot, normal = found
    radius = max(1.5, track_px * float(rng.uniform(0.25, 0.55)))
    centre = spot - normal * radius * float(rng.uniform(-0.3, 0.4))
    if chance(rng, 0.5):
        geometry.draw_blob(masks.copper, centre, radius, rng, 0)
    else:
        along = np.array([-normal[1], normal[0]]) * radius * float(rng.uniform(0, 0.8))
        geometry.draw_line(masks.copper, np.array([centre - along, centre + along]), 2 * radius, 0)
    return True


def _spur(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    edges = Edges(masks)
    for _ in range(6):
        found = edges.pick(rng)
        if found is None:
            return False
        spot, normal = found
        room = edges.run(spot + normal, normal, 4 * track_px, copper=False) or 4 * track_px
        width = max(2.0, track_px * float(rng.uniform(0.3, 0.9)))
        length = min(track_px * float(rng.uniform(0.5, 1.5)), room * 0.7, room - 3)
        if length < 0.25 * track_px:
            continue
        _grow(masks.copper, spot, normal * length, width, rounded=chance(rng, 0.5))
        return True
    return False


def _grow(copper: Mask, root: Points, reach: Points, width: float, *, rounded: bool) -> None:
    """Draw a stub from ``root`` that ends at ``root + reach``, square or round."""
    length = float(np.hypot(*reach))
    along = reach / length
    if rounded and length > width / 2:
        tip = root + along * (length - width / 2)
        geometry.draw_line(copper, np.array([root - along, tip]), width)
    else:
        middle = root + along * (length - 2) / 2
        geometry.draw_polygon(copper, geometry.bar(middle, along, length + 2, width))


def _spurious_copper(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    busy = masks.copper | masks.silk | masks.outside
    width = max(2.0, track_px * float(rng.uniform(0.25, 0.8)))
    spot = _deep_spot(~busy, width * 0.5 + 2, rng)
    if spot is None:
        return False
    added = np.zeros_like(masks.copper)
    if chance(rng, 0.2):
        geometry.draw_blob(added, spot, width, rng)
    else:
        heading = geometry.direction(int(rng.choice((0, 2)) if chance(rng, 0.7) else 1))
        reach = heading * track_px * float(rng.uniform(0.4, 2.2))
        geometry.draw_line(added, np.array([spot - reach, spot + reach]), width)
    near = cv2.dilate(busy, np.ones((3, 3), np.uint8), iterations=1)
    added[near > 0] = 0
    masks.copper |= added
    return True


def _pin_hole(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    radius = max(1.5, track_px * float(rng.uniform(0.12, 0.35)))
    solid = masks.copper & ~(masks.pad | masks.via | masks.silk)
    spot = _deep_spot(solid, radius * 1.3 + 1.5, rng)
    if spot is None:
        return False
    geometry.draw_blob(masks.copper, spot, radius, rng, 0)
    return True


def _missing_hole(masks: Masks, track_px: float, rng: np.random.Generator) -> bool:
    """Spoil a pad's hole: the mask shows through where tin should shine."""
    del track_px
    height, width = masks.copper.shape
    seen = [(c, r) for c, r in masks.holes if 0 < c[0] < width and 0 < c[1] < height]
    if not seen:
        return False
    centre, radius = seen[int(rng.integers(len(seen)))]
    geometry.draw_disc(masks.void, centre, radius * float(rng.uniform(0.9, 1.15)))
    geometry.draw_disc(masks.hole, centre, radius + 1, 0)
    return True


def _deep_spot(mask: Mask, depth_px: float, rng: np.random.Generator) -> Points | None:
    """Draw a place inside ``mask``, at least ``depth_px`` from its edge."""
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    ys, xs = np.nonzero(depth > depth_px)
    if not len(ys):
        return None
    k = int(rng.integers(len(ys)))
    return np.array([float(xs[k]), float(ys[k])])


_MAKERS: dict[str, Maker] = {
    "open": _open,
    "short": _short,
    "mousebite": _mousebite,
    "spur": _spur,
    "spurious_copper": _spurious_copper,
    "pin_hole": _pin_hole,
    "missing_hole": _missing_hole,
}
