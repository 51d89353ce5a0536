"""Tiles cover the board; the heat map is exact; merging boxes does not depend on their order."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.serving.tiling import (
    Box,
    Finding,
    HeatMap,
    find_boxes,
    make_grid,
    merge_findings,
    merge_scores,
)

sides = st.integers(1, 300)
tile_sides = st.integers(4, 300)
overlaps = st.floats(0.0, 0.95)
boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    st.integers(0, 60), st.integers(0, 60), st.integers(1, 25), st.integers(1, 25),
)  # fmt: skip
findings = st.lists(st.builds(Finding, boxes, st.floats(0.0, 1.0)), max_size=14)


def covered(spans) -> set[int]:
    return set().union(*(range(start, end) for start, end in spans))


@given(sides, sides, tile_sides, overlaps)
def test_every_pixel_is_covered_and_no_tile_leaves_the_picture(width, height, tile_px, overlap):
    grid = make_grid(width, height, tile_px, overlap)

    assert covered(grid.columns) == set(range(width))
    assert covered(grid.rows) == set(range(height))
    assert {end - start for start, end in grid.columns} == {min(tile_px, width)}
    assert {end - start for start, end in grid.rows} == {min(tile_px, height)}


@given(sides, tile_sides, overlaps)
def test_neighbours_share_at_least_the_overlap_and_none_is_there_twice(side, tile_px, overlap):
    spans = make_grid(side, 1, tile_px, overlap).columns
    stride = max(1, round(tile_px * (1 - overlap)))

    assert len(set(spans)) == len(spans)
    assert all(0 < b[0] - a[0] <= stride for a, b in pairwise(spans))


def test_the_last_tile_ends_with_the_picture():
    assert make_grid(100, 40, 40, 0.25).columns == ((0, 40), (30, 70), (60, 100))
    assert make_grid(101, 40, 40, 0.25).columns == ((0, 40), (30, 70), (60, 100), (61, 101))
    assert make_grid(30, 50, 40, 0.5).tiles == [Box(0, 0, 30, 40), Box(0, 10, 30, 50)]


grids = st.builds(
    make_grid, st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.floats(0.0, 0.8)
)


@given(grids, st.randoms(use_true_random=False), st.sampled_from(["max", "mean"]))
def test_a_cell_holds_the_merged_scores_of_the_tiles_over_it(grid, chance, merge):
    scores = [[chance.random() for _ in grid.columns] for _ in grid.rows]
    flat = [score for line in scores for score in line]
    x, y = chance.randrange(grid.width), chance.randrange(grid.height)
    over = [
        score
        for tile, score in zip(grid.tiles, flat, strict=True)
        if tile.left <= x < tile.right and tile.top <= y < tile.bottom
    ]
    wanted = max(over) if merge == "max" else sum(over) / len(over)

    cells = merge_scores(grid, scores, merge).cells()
    here = [
        value for box, value in cells
        if box.left <= x < box.right and box.top <= y < box.bottom
    ]  # fmt: skip

    assert here == [pytest.approx(wanted)]


@given(grids, st.randoms(use_true_random=False), st.floats(0.01, 1.0))
def test_there_is_a_box_exactly_where_some_tile_passes_the_threshold(grid, chance, threshold):
    scores = [[chance.random() for _ in grid.columns] for _ in grid.rows]
    flat = [score for line in scores for score in line]
    found = find_boxes(merge_scores(grid, scores, "max"), threshold)

    hot = [t for t, score in zip(grid.tiles, flat, strict=True) if score >= threshold]
    assert bool(found) == bool(hot)
    assert all(any(f.box.around(tile) == f.box for f in found) for tile in hot)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    if hot:
        assert found[0].score == max(flat)


@given(findings, st.randoms(use_true_random=False))
def test_merging_is_the_same_in_every_order_and_leaves_no_overlap(found, chance):
    shuffled = list(found)
    chance.shuffle(shuffled)
    merged = merge_findings(found)

    assert merge_findings(shuffled) == merged
    assert merge_findings(merged) == merged
    assert not any(a.box.overlaps(b.box) for a in merged for b in merged if a is not b)
    assert all(any(m.box.around(f.box) == m.box for m in merged) for f in found)


def test_cells_that_touch_by_a_corner_alone_are_two_boxes():
    heat = HeatMap((0, 10, 20), (0, 5, 10), ((0.9, 0.1), (0.2, 0.7)))

    assert find_boxes(heat, 0.5) == [
        Finding(Box(0, 0, 10, 5), 0.9),
        Finding(Box(10, 5, 20, 10), 0.7),
    ]


def test_a_box_within_the_arms_of_another_is_taken_in():
    edges = (0, 1, 2, 3)
    heat = HeatMap(edges, edges, ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.6)))

    assert find_boxes(heat, 0.5) == [Finding(Box(0, 0, 3, 3), 1.0)]
