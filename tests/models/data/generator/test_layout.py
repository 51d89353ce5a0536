"""What a board should be: nets that never touch, pads with holes, nothing beyond the edge."""

import cv2
import numpy as np

from models.data.generator.canvas import Layout
from models.data.generator.layout import Scene, draw_layout
from models.data.generator.style import board_style

PLAIN = Scene(plain_share=1.0, edge_share=0.0)
BUSY = Scene(plain_share=0.0, sparse_share=0.0, edge_share=0.0)
EDGE = Scene(plain_share=0.0, sparse_share=0.0, edge_share=1.0)


def layout(board, scene=BUSY, seed=0, width=120, height=100):
    return draw_layout(board_style(board), np.random.default_rng(seed), width, height, scene)


def test_masks_are_black_and_white_and_have_the_canvas_size():
    drawn = layout(3).masks
    for name in ("copper", "pad", "hole", "via", "via_hole", "silk", "outside", "void", "patch"):
        mask = getattr(drawn, name)
        assert mask.shape == (100, 120)
        if name != "silk":  # letters are smooth
            assert set(np.unique(mask)) <= {0, 255}


def test_a_good_tile_has_neither_void_nor_patch():
    for board in range(20):
        drawn = layout(board).masks
        assert not drawn.void.any()
        assert not drawn.patch.any()


def test_a_plain_tile_has_one_tone():
    for board in range(20):
        drawn = layout(board, PLAIN).masks
        assert len(np.unique(drawn.copper)) == 1
        assert not drawn.pad.any()


def test_most_busy_tiles_show_copper_and_substrate():
    shares = np.array([(layout(board).masks.copper > 0).mean() for board in range(60)])
    assert np.mean((shares > 0.05) & (shares < 0.95)) > 0.85


def test_tin_lies_on_copper():
    for board in range(30):
        drawn = layout(board).masks
        assert not np.any((drawn.pad > 0) & (drawn.copper == 0))


def test_nothing_conducts_beyond_the_edge():
    seen = 0
    for board in range(20):
        drawn = layout(board, EDGE).masks
        seen += bool(drawn.outside.any())
        for mask in (drawn.copper, drawn.pad, drawn.hole, drawn.via):
            assert not np.any((mask > 0) & (drawn.outside > 0))
    assert seen >= 18


def test_a_track_that_would_touch_another_is_not_drawn():
    canvas = Layout(board_style(0), np.random.default_rng(0), 100, 100)
    assert canvas.try_line(np.array([[0.0, 50.0], [100.0, 50.0]]), 4)
    canvas.take()
    before = canvas.masks.copper.copy()
    assert not canvas.try_line(np.array([[50.0, 0.0], [50.0, 100.0]]), 4)
    assert np.array_equal(before, canvas.masks.copper)


def test_a_branch_may_start_on_its_own_track():
    canvas = Layout(board_style(0), np.random.default_rng(0), 200, 200)
    canvas.try_line(np.array([[0.0, 20.0], [200.0, 20.0]]), 4)
    canvas.take()
    branch = np.array([[100.0, 20.0], [100.0, 200.0]])
    assert canvas.try_line(branch, 4, skip_px=4 * canvas.gap + 8)
    assert cv2.connectedComponents(canvas.masks.copper)[0] == 2
