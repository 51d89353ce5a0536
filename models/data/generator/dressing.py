"""What comes after the nets: poured copper, the edge of the board and the print."""

import cv2
import numpy as np

from models.data.generator import geometry
from models.data.generator.canvas import Layout, in_canvas
from models.data.generator.geometry import Mask, Points, chance

_HALF = 127


def draw_pour(layout: Layout) -> None:
    """Flood the free area with copper, a clearance away from every track, and fill or dot it."""
    rng, masks = layout.rng, layout.masks
    clearance = max(2, round(layout.gap * layout.style.clearance))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * clearance + 1, 2 * clearance + 1))
    keep_out = cv2.dilate(masks.copper, kernel)
    region = _pour_region(layout)
    region[keep_out > 0] = 0
    slim = max(3, round(layout.track * float(rng.uniform(0.4, 0.9)))) | 1
    opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (slim, slim))
    region = cv2.morphologyEx(region, cv2.MORPH_OPEN, opening).astype(np.uint8)
    if layout.style.pour_fill != "solid" and chance(rng, 0.8):
        _perforate(layout, region)
    cv2.bitwise_or(masks.copper, region, masks.copper)
    _thermal_ties(layout, region)


def _thermal_ties(layout: Layout, region: Mask) -> None:
    """Tie some pads to the pour with short spokes: they belong there and look like shorts."""
    rng, width = layout.rng, layout.track * float(layout.rng.uniform(0.35, 0.8))
    reach = layout.track * layout.style.pad_scale / 2 + layout.gap * layout.style.clearance + 3
    for centre, _ in layout.masks.holes:
        if not chance(rng, layout.style.thermal_share):
            continue
        for heading in rng.permutation((0, 2, 4, 6))[: int(rng.integers(1, 5))]:
            end = centre + geometry.direction(int(heading)) * reach
            if in_canvas(layout, end, -1) and region[int(end[1]), int(end[0])]:
                geometry.draw_line(layout.masks.copper, np.array([centre, end]), width)


def draw_legend(layout: Layout) -> None:
    """Write letters in copper, as layers are marked."""
    rng, copper = layout.rng, layout.masks.copper
    letters = np.zeros_like(copper)
    spot = layout.anywhere()
    where = (round(float(spot[0])), round(float(spot[1])))
    _letters(layout, letters, where, max(1, round(layout.track * float(rng.uniform(0.2, 0.6)))))
    letters = (letters > _HALF) * np.uint8(255)
    near = cv2.dilate(letters, np.ones((5, 5), np.uint8))
    inside = copper[near > 0]
    if inside.size and (inside.min() == inside.max()) and not np.any(layout.masks.pad[near > 0]):
        copper[letters > 0] = 255 - inside[0]


def _pour_region(layout: Layout) -> Mask:
    rng = layout.rng
    region = np.zeros_like(layout.taken)
    if chance(rng, 0.5):
        region[:] = 255
        return region
    for _ in range(int(rng.integers(1, 3))):
        along = geometry.direction(layout.heading())
        sides = rng.uniform(0.4, 1.6, 2) * layout.side
        corners = geometry.bar(layout.anywhere(), along, float(sides[0]), float(sides[1]))
        geometry.draw_polygon(region, corners)
    return region


def _perforate(layout: Layout, region: Mask) -> None:
    """Dots or a hatch on a regular grid, as large pours have them."""
    style = layout.style
    pitch = max(4.0, style.fill_pitch * layout.side)
    height, width = region.shape
    xs = (np.arange(width) / pitch) % 1.0
    ys = (np.arange(height) / pitch) % 1.0
    hole = 0.35 if style.pour_fill == "dots" else 0.6
    inner = cv2.erode(region, np.ones((3, 3), np.uint8), iterations=2)
    dots = (ys[:, None] < hole) & (xs[None, :] < hole) & (inner > 0)
    region[dots] = 0


def cut_board_edge(layout: Layout) -> None:
    """Cut one or two sides of the board into view, with a strip of bare board along them."""
    rng, masks = layout.rng, layout.masks
    height, width = masks.outside.shape
    inside = np.zeros_like(masks.outside)
    sides = rng.permutation(4)[: 1 if chance(rng, 0.7) else 2]
    cut = np.zeros(4)
    cut[sides] = rng.uniform(0.03, 0.3, len(sides)) * layout.side
    box = np.array([cut[0], cut[1], width - cut[2], height - cut[3]])
    rim = layout.track * float(rng.uniform(0.2, 1.2))
    _box(inside, box, 255)
    masks.outside[inside == 0] = 255
    bare = np.zeros_like(inside)
    grow = np.where(cut > 0, rim, -2.0) * np.array([1, 1, -1, -1])
    _box(bare, box + grow, 255)
    for name in ("copper", "pad", "hole", "via", "via_hole"):
        getattr(masks, name)[bare == 0] = 0
    masks.holes = [(c, r) for c, r in masks.holes if _inside_box(box + grow, c, r)]


def _inside_box(box: Points, centre: Points, radius: float) -> bool:
    return bool(np.all(centre - radius > box[:2]) and np.all(centre + radius < box[2:]))


def _box(mask: Mask, box: Points, value: int) -> None:
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    cv2.rectangle(mask, (x0, y0), (x1 - 1, y1 - 1), value, -1)


def print_row_box(layout: Layout, pads: list[Points], size: float) -> None:
    """Print the outline round a row of pads."""
    spots = np.array(pads)
    margin = size * float(layout.rng.uniform(0.7, 1.0))
    low, high = spots.min(axis=0) - margin, spots.max(axis=0) + margin
    corners = [tuple(int(v) for v in np.round(p)) for p in (low, high)]
    width = max(1, round(layout.track * float(layout.rng.uniform(0.15, 0.4))))
    cv2.rectangle(layout.masks.silk, corners[0], corners[1], 255, width)


def draw_print(layout: Layout) -> None:
    """Print lines, letters and shapes."""
    rng, silk = layout.rng, layout.masks.silk
    width = max(1, round(layout.track * float(rng.uniform(0.15, 0.5))))
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(4))
        spot = layout.anywhere()
        where = (round(float(spot[0])), round(float(spot[1])))
        if kind == 0:
            _letters(layout, silk, where, width)
        elif kind == 1:
            heading = int(rng.choice((0, 2, 4, 6)))
            legs = [float(v) for v in rng.uniform(0.2, 0.9, 2) * layout.side]
            geometry.draw_line(silk, geometry.walk(spot, heading, legs, [2]), width)
        elif kind == 2:  # noqa: PLR2004
            cv2.circle(silk, where, round(layout.track * float(rng.uniform(1, 4))), 255, width)
        else:
            far = spot + rng.uniform(0.2, 0.6, 2) * layout.side
            cv2.rectangle(silk, where, (round(float(far[0])), round(float(far[1]))), 255, width)
    silk[layout.masks.pad > 0] = 0
    silk[layout.masks.outside > 0] = 0


def _letters(layout: Layout, mask: Mask, where: tuple[int, int], width: int) -> None:
    rng = layout.rng
    alphabet = "ABCDEFGHIJKLMNPQRSTUVWXYZ0123456789_+-"
    text = "".join(alphabet[int(k)] for k in rng.integers(len(alphabet), size=rng.integers(1, 7)))
    drawn = np.zeros_like(mask)
    scale = layout.side * float(rng.uniform(0.004, 0.009))
    cv2.putText(drawn, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, width, cv2.LINE_AA)
    if chance(rng, 0.4):
        drawn = drawn[:, ::-1]
    if chance(rng, 0.3):
        drawn = drawn[::-1]
    np.maximum(mask, drawn, out=mask)
