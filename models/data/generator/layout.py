"""A tile's layout under a board's design rules: masks of copper, pads, holes, vias and print.

It draws what a board should be; `defects` breaks it and `render` photographs it. Two nets never
touch: each new shape is tried on a scratch mask and dropped where it meets an older one.
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


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How often a tile shows nothing but mask, few tracks, or the edge of the board."""

    plain_share: float = 0.05
    sparse_share: float = 0.25
    edge_share: float = 0.12


def draw_layout(
    style: BoardStyle, rng: np.random.Generator, width: int, height: int, scene: Scene
) -> Layout:
    """Return one defect-free tile, drawn on a canvas of ``width`` by ``height``."""
    layout = Layout(style, rng, width, height)
    plain = rng.random()
    if plain < scene.plain_share:
        if chance(rng, 0.7):
            layout.masks.copper[:] = 255
    else:
        _components(layout)
        _tracks(layout, few=plain < scene.plain_share + scene.sparse_share)
        if chance(rng, style.pour_share):
            _pour(layout)
    if chance(rng, scene.edge_share):
        _board_edge(layout)
    if chance(rng, style.silk_share):
        _silk(layout)
    return layout


def _without_start(line: Points, skip_px: float) -> Points:
    step = line[1] - line[0]
    length = float(np.hypot(*step))
    start = line[0] + step * min(0.95, skip_px / max(length, 1e-9))
    return np.concatenate([start[None], line[1:]])


def _components(layout: Layout) -> None:
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
        _row_box(layout, placed, size)


def _row_length(rng: np.random.Generator) -> int:
    return int(rng.choice((1, 2, 3, 4, 6, 9), p=(0.25, 0.2, 0.15, 0.15, 0.15, 0.1)))


def _pad(layout: Layout, centre: Points, size: float, shape: str, along: int) -> bool:
    """Draw one pad with its hole, unless the place is taken."""
    if not _in_canvas(layout, centre, size):
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


def _in_canvas(layout: Layout, centre: Points, margin: float) -> bool:
    return bool(np.all(centre > -margin) and np.all(centre < layout.size + margin))


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
    if len(line) == 2 and _in_canvas(layout, end, 0):  # noqa: PLR2004  (a straight stub)
        _via(layout, end)
    if layout.style.teardrop:
        step = (line[1] - line[0]) / max(float(np.hypot(*(line[1] - line[0]))), 1e-9)
        root = layout.track * layout.style.pad_scale * 0.8
        side = np.array([-step[1], step[0]])
        tip = pad + step * root * 2.2
        corners = np.array([pad - side * root / 2, pad + side * root / 2,
                            tip + side * width / 2, tip - side * width / 2])  # fmt: skip
        geometry.draw_polygon(layout.masks.copper, corners)


def _via(layout: Layout, centre: Points) -> None:
    radius = layout.track * float(layout.rng.uniform(0.7, 1.0))
    geometry.draw_disc(layout.masks.copper, centre, radius * 1.15)
    if layout.style.via_tinned:
        geometry.draw_disc(layout.masks.pad, centre, radius)
        geometry.draw_disc(layout.masks.hole, centre, radius * 0.5)
        layout.masks.holes.append((centre, radius * 0.5))
    else:
        geometry.draw_disc(layout.masks.via, centre, radius * 0.7)
        geometry.draw_disc(layout.masks.via_hole, centre, radius * 0.35)


def _tracks(layout: Layout, *, few: bool) -> None:
    """Bundles of parallel tracks across the tile, and branches off some of them."""
    for _ in range(int(layout.rng.integers(1, 3) if few else layout.rng.integers(3, 8))):
        _bundle(layout)


def _bundle(layout: Layout) -> None:
    style, rng = layout.style, layout.rng
    heading = _heading(rng, style)
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
                _via(layout, line[-1])
            if chance(rng, style.junction_share * 0.4):
                _branch(layout, line, width)
    layout.take()


def _heading(rng: np.random.Generator, style: BoardStyle) -> int:
    if chance(rng, style.diagonal_share):
        return int(rng.choice((1, 3, 5, 7)))
    return int(rng.choice((0, 2, 4, 6)))


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
    if not _in_canvas(layout, root, 0):
        return
    heading = round(float(np.arctan2(span[1], span[0])) / (np.pi / 4)) + int(rng.choice((2, -2)))
    reach = (3.0 if chance(rng, 0.6) else float(rng.uniform(0.15, 0.4))) * layout.side
    branch = geometry.walk(root, heading, [reach], [])
    if layout.try_line(branch, width, skip_px=width * 1.5 + layout.gap) and reach < layout.side:
        _via(layout, branch[-1])


def _pour(layout: Layout) -> None:
    """Flood the free area with copper, a clearance away from every track, and fill or dot it."""
    rng, masks = layout.rng, layout.masks
    clearance = max(2, round(layout.gap * layout.style.clearance))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * clearance + 1, 2 * clearance + 1))
    keep_out = cv2.dilate(masks.copper, kernel)
    region = _pour_region(layout)
    region[keep_out > 0] = 0
    slim = max(3, round(layout.track * 0.8)) | 1
    opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (slim, slim))
    region = cv2.morphologyEx(region, cv2.MORPH_OPEN, opening).astype(np.uint8)
    if layout.style.pour_fill != "solid" and chance(rng, 0.8):
        _perforate(layout, region)
    cv2.bitwise_or(masks.copper, region, masks.copper)


def _pour_region(layout: Layout) -> Mask:
    rng = layout.rng
    region = np.zeros_like(layout.taken)
    if chance(rng, 0.5):
        region[:] = 255
        return region
    for _ in range(int(rng.integers(1, 3))):
        along = geometry.direction(_heading(rng, layout.style))
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


def _board_edge(layout: Layout) -> None:
    """Cut one or two sides of the board into view, with a strip of bare board along them."""
    rng, masks = layout.rng, layout.masks
    height, width = masks.outside.shape
    inside = np.zeros_like(masks.outside)
    cut = (rng.uniform(0.03, 0.3, 4) * layout.side) * (rng.permutation((1, 1, 0, 0)) > 0)
    if chance(rng, 0.7):
        cut *= np.eye(4)[int(rng.integers(4))]
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


def _row_box(layout: Layout, pads: list[Points], size: float) -> None:
    """Print the outline round a row of pads."""
    spots = np.array(pads)
    margin = size * float(layout.rng.uniform(0.7, 1.0))
    low, high = spots.min(axis=0) - margin, spots.max(axis=0) + margin
    corners = [tuple(int(v) for v in np.round(p)) for p in (low, high)]
    width = max(1, round(layout.track * float(layout.rng.uniform(0.15, 0.4))))
    cv2.rectangle(layout.masks.silk, corners[0], corners[1], 255, width)


def _silk(layout: Layout) -> None:
    """Print lines, letters and shapes."""
    rng, silk = layout.rng, layout.masks.silk
    width = max(1, round(layout.track * float(rng.uniform(0.15, 0.5))))
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(4))
        spot = layout.anywhere()
        where = (round(float(spot[0])), round(float(spot[1])))
        if kind == 0:
            _letters(layout, where, width)
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


def _letters(layout: Layout, where: tuple[int, int], width: int) -> None:
    rng = layout.rng
    alphabet = "ABCDEFGHIJKLMNPQRSTUVWXYZ0123456789_+-"
    text = "".join(alphabet[int(k)] for k in rng.integers(len(alphabet), size=rng.integers(1, 7)))
    flipped = np.zeros_like(layout.masks.silk)
    scale = layout.side * float(rng.uniform(0.004, 0.009))
    cv2.putText(flipped, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, width, cv2.LINE_AA)
    if chance(rng, 0.4):
        flipped = flipped[:, ::-1]
    if chance(rng, 0.3):
        flipped = flipped[::-1]
    np.maximum(layout.masks.silk, flipped, out=layout.masks.silk)
