"""Generated tiles: repeatable, different by board, and with their defect where they say."""

import numpy as np
import pytest

from models.data.generator import DEFECT_KINDS, generate_tile, tiles
from models.data.generator.tiles import GRID, UnknownLabelError, located_tile

PX = 64


@pytest.mark.parametrize("label", ["ok", "defect", *DEFECT_KINDS])
@pytest.mark.parametrize("px", [33, 64, 200])
def test_a_tile_has_the_size_and_type_asked_for(label, px):
    image = generate_tile(1, 2, label, px)
    assert image.shape == (px, px, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_the_same_seeds_give_the_same_tile_whatever_was_drawn_before():
    first = generate_tile(11, 5, "defect", PX)
    for k in range(5):
        generate_tile(k, k, "ok", PX)
    assert np.array_equal(first, generate_tile(11, 5, "defect", PX))


def test_another_tile_seed_or_board_seed_gives_another_tile():
    first = generate_tile(11, 5, "ok", PX)
    assert not np.array_equal(first, generate_tile(11, 6, "ok", PX))
    assert not np.array_equal(first, generate_tile(12, 5, "ok", PX))


def test_a_label_nobody_knows_is_refused_with_the_known_ones():
    with pytest.raises(UnknownLabelError, match="use one of ok, defect, open"):
        generate_tile(0, 0, "burnt", PX)


def test_an_ok_tile_has_no_cell_with_a_defect():
    assert not any(located_tile(b, 3, "ok", PX).where.any() for b in range(20))


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_nearly_every_board_can_show_every_kind(kind):
    shown = [located_tile(board, 1, kind, PX).where.any() for board in range(40)]
    assert np.mean(shown) > 0.9


def test_a_defect_is_small_and_inside_the_tile():
    shares = [located_tile(board, 2, "defect", 128).where.mean() for board in range(60)]
    assert np.mean(np.array(shares) > 0) > 0.95
    assert 0.004 < np.median(shares) < 0.1


def test_the_defect_is_what_tells_the_twins_apart():
    """Ok and defective tile of one seed show the same place, but for the defective cells."""
    alike = 0
    for board in range(30):
        ok = generate_tile(board, 4, "ok", 128).astype(np.int32)
        bad, where = located_tile(board, 4, "defect", 128)
        apart = np.abs(ok - bad).mean(axis=2).reshape(GRID, 8, GRID, 8).mean(axis=(1, 3))
        if where.any() and np.median(apart) < 2:
            alike += 1
            assert apart[where].max() > 3 * np.median(apart)
    assert alike >= 10


def test_boards_differ_more_than_tiles_of_one_board():
    def mean_colours(board):
        images = [generate_tile(board, seed, "ok", 32) for seed in range(6)]
        return np.array([image.reshape(-1, 3).mean(axis=0) for image in images])

    colours = np.array([mean_colours(board) for board in range(12)])
    within, between = colours.std(axis=1).mean(), colours.mean(axis=1).std(axis=0).mean()
    assert between > 1.5 * within


def test_a_set_alternates_labels_and_pairs_up_boards():
    made = tiles(3, 11, 32, range(100, 105))
    assert made.images.shape == (11, 32, 32, 3)
    assert made.labels.tolist() == [0, 1] * 5 + [0]
    assert set(made.boards.tolist()) <= set(range(100, 105))
    assert np.array_equal(made.boards[0:10:2], made.boards[1:10:2])
    assert not made.where[made.labels == 0].any()
    assert made.where[made.labels == 1].any(axis=(1, 2)).mean() > 0.7


def test_a_set_is_repeatable_and_its_seed_matters():
    once, again, other = (tiles(seed, 6, 32, range(9)).images for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
