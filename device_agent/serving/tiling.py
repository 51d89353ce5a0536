"""The geometry of a board: tiles that cover it, a heat map of scores, boxes around heat. Pure.

A heat map is exact: its cells are what the edges of all tiles cut the picture into, so every tile
covers whole cells, and a cell's value is the largest (or the mean) of the scores of its tiles.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import fmean
from typing import Literal

Merge = Literal["max", "mean"]
_MERGES: dict[Merge, Callable[[Sequence[float]], float]] = {"max": max, "mean": fmean}


@dataclass(frozen=True, order=True)
class Box:
    """Pixels from (left, top) up to but not including (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def around(self, other: "Box") -> "Box":
        """Return the smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True)
class Grid:
    """``columns`` and ``rows`` are (start, end) of the tiles along each side, in order."""

    width: int
    height: int
    columns: tuple[tuple[int, int], ...]
    rows: tuple[tuple[int, int], ...]

    @property
    def tiles(self) -> list[Box]:
        """Return the tiles row by row."""
        return [
            Box(left, top, right, bottom)
            for (top, bottom), (left, right) in product(self.rows, self.columns)
        ]


def make_grid(width: int, height: int, tile_px: int, overlap: float) -> Grid:
    """Cover a picture with tiles of ``tile_px``, neighbours sharing ``overlap`` of their side.

    The last tile of a row or column is moved back to end with the picture; a picture smaller than a
    tile gets one tile of its own size. Needs 0 <= overlap < 1.
    """
    stride_px = max(1, round(tile_px * (1 - overlap)))
    return Grid(
        width, height, _spans(width, tile_px, stride_px), _spans(height, tile_px, stride_px)
    )


def _spans(side_px: int, tile_px: int, stride_px: int) -> tuple[tuple[int, int], ...]:
    if side_px <= tile_px:
        return ((0, side_px),)
    last = side_px - tile_px
    starts = [*range(0, last, stride_px), last]
    return tuple((start, start + tile_px) for start in starts)


@dataclass(frozen=True)
class HeatMap:
    """``heat[row][column]`` is the value of the cell between the edges of those numbers."""

    x_edges: tuple[int, ...]
    y_edges: tuple[int, ...]
    heat: tuple[tuple[float, ...], ...]

    def cells(self) -> list[tuple[Box, float]]:
        """Return every cell with its value."""
        return [
            (Box(left, top, right, bottom), value)
            for (top, bottom), line in zip(pairwise(self.y_edges), self.heat, strict=True)
            for (left, right), value in zip(pairwise(self.x_edges), line, strict=True)
        ]


def merge_scores(grid: Grid, scores: Sequence[Sequence[float]], merge: Merge) -> HeatMap:
    """Merge ``scores[row][column]`` of the grid's tiles into a heat map."""
    combine = _MERGES[merge]
    x_edges, y_edges = _edges(grid.columns), _edges(grid.rows)
    across = [_covering(grid.columns, left, right) for left, right in pairwise(x_edges)]
    down = [_covering(grid.rows, top, bottom) for top, bottom in pairwise(y_edges)]
    heat = tuple(
        tuple(combine([scores[r][c] for r in rows for c in columns]) for columns in across)
        for rows in down
    )
    return HeatMap(x_edges, y_edges, heat)


def _edges(spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    return tuple(sorted({edge for span in spans for edge in span}))


def _covering(spans: tuple[tuple[int, int], ...], start: int, end: int) -> range:
    """Return the numbers of the spans that hold the stretch from ``start`` to ``end``."""
    begun = bisect_right(spans, start, key=lambda span: span[0])
    ended = bisect_left(spans, end, key=lambda span: span[1])
    return range(ended, begun)


@dataclass(frozen=True)
class Finding:
    """A place on the board, and the highest value in it."""

    box: Box
    score: float


def find_boxes(heat_map: HeatMap, threshold: float) -> list[Finding]:
    """Return boxes around connected cells of at least ``threshold``, the hottest first.

    Cells are connected by their sides. Boxes that overlap are merged into one.
    """
    hot = {
        (row, column)
        for row, line in enumerate(heat_map.heat)
        for column, value in enumerate(line)
        if value >= threshold
    }
    found = []
    while hot:
        part = _connected(hot)
        hot -= part
        found.append(_around(heat_map, part))
    return merge_findings(found)


def _connected(hot: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the part of ``hot`` that hangs together with one of its cells."""
    todo = [next(iter(hot))]
    part = set(todo)
    while todo:
        row, column = todo.pop()
        beside = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
        new = (beside & hot) - part
        part |= new
        todo.extend(new)
    return part


def _around(heat_map: HeatMap, part: set[tuple[int, int]]) -> Finding:
    rows = [row for row, _ in part]
    columns = [column for _, column in part]
    box = Box(
        heat_map.x_edges[min(columns)],
        heat_map.y_edges[min(rows)],
        heat_map.x_edges[max(columns) + 1],
        heat_map.y_edges[max(rows) + 1],
    )
    return Finding(box, max(heat_map.heat[row][column] for row, column in part))


def merge_findings(found: Sequence[Finding]) -> list[Finding]:
    """Merge boxes until none overlaps another; in whatever order they come, the result is one."""
    before, merged = len(found) + 1, list(found)
    while len(merged) < before:
        before, merged = len(merged), _merged_once(merged)
    return sorted(merged, key=lambda finding: (-finding.score, finding.box))


def _merged_once(found: list[Finding]) -> list[Finding]:
    """Go through the boxes from left to right, each joined by those before it that it overlaps."""
    done: list[Finding] = []
    near: list[Finding] = []
    for one in sorted(found, key=lambda finding: finding.box):
        done += [other for other in near if other.box.right <= one.box.left]
        near = [other for other in near if other.box.right > one.box.left]
        whole = one
        while (other := next((f for f in near if f.box.overlaps(whole.box)), None)) is not None:
            near.remove(other)
            whole = Finding(whole.box.around(other.box), max(whole.score, other.score))
        near.append(whole)
    return done + near
