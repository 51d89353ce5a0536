"""Tiles by board: nothing of the board that is left out may be seen in training."""

import numpy as np
import pytest
from PIL import Image

from models.data import pcb_tiles
from models.data.duplicates import group_duplicates, straddling
from models.data.generator.boards import write_board
from models.data.pcb_tiles import UnknownBoardError
from models.data.split import split

needs_data = pytest.mark.skipif(
    not pcb_tiles.default_root().is_dir(), reason="the photographed tiles are not here"
)


@pytest.fixture
def boards(tmp_path):
    for seed in (1, 2, 3):
        write_board(tmp_path / f"board-{seed}", seed, n_ok=4, n_defect=3, px=64, seed=0)
    (tmp_path / "manifest.csv").write_text("file,board,label\n")
    return pcb_tiles.load_boards(tmp_path)


def test_loads_every_board_with_its_labels(boards):
    assert [board.name for board in boards] == ["board-1", "board-2", "board-3"]
    assert [file.label for file in boards[0].files] == [0] * 4 + [1] * 3


def test_each_board_is_left_out_once_and_trains_nothing_then(boards):
    held = []
    for left, others in pcb_tiles.leave_one_board_out(boards):
        held.append(left.name)
        assert left.name not in {board.name for board in others}
        assert len(others) == len(boards) - 1
    assert held == ["board-1", "board-2", "board-3"]


def test_a_board_nobody_has_is_refused_with_the_known_ones(boards):
    with pytest.raises(UnknownBoardError, match="board-1, board-2, board-3"):
        pcb_tiles.hold_out(boards, "board-9")


def test_a_sample_is_balanced_repeatable_and_within_the_board(boards):
    small = pcb_tiles.sample(boards[0], 2, 0)
    assert [file.label for file in small.files] == [0, 0, 1, 1]
    assert set(small.files) <= set(boards[0].files)
    assert small == pcb_tiles.sample(boards[0], 2, 0)


def test_loads_pixels_and_names_what_is_broken(boards):
    boards[0].files[1].path.write_bytes(b"broken")
    images, labels, dropped = pcb_tiles.load_tiles(boards[0].files, 32)
    assert images.shape == (6, 32, 32, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dropped == [boards[0].files[1].path]


def test_a_flipped_copy_on_another_board_is_taken_out(boards):
    tested, others = pcb_tiles.hold_out(boards, "board-1")
    source = next(f.path for f in tested.files if not pcb_tiles.fingerprints([f])[0].plain)
    with Image.open(source) as image:
        copy = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    victim = others[0].files[0]
    copy.save(victim.path, quality=95)
    cleaned, n_dropped = pcb_tiles.without_copies(others, tested)
    assert n_dropped >= 1
    assert victim not in cleaned[0].files


@needs_data
def test_no_real_picture_stands_on_both_sides_of_a_split_by_board():
    boards = [pcb_tiles.sample(b, 40, 0) for b in pcb_tiles.load_boards(pcb_tiles.default_root())]
    for tested, others in pcb_tiles.leave_one_board_out(boards):
        cleaned, n_dropped = pcb_tiles.without_copies(others, tested)
        left = [file for board in cleaned for file in board.files]
        prints = pcb_tiles.fingerprints([*left, *tested.files])
        sides = [0] * len(left) + [1] * len(tested.files)
        assert not straddling(prints, sides, pcb_tiles.COPY_BITS)
        assert not {file.path for file in left} & {file.path for file in tested.files}
        assert n_dropped < 0.05 * sum(len(board.files) for board in others)


@needs_data
def test_groups_of_a_real_board_leave_it_splittable():
    boards = pcb_tiles.load_boards(pcb_tiles.default_root())
    board = pcb_tiles.sample(boards[0], 150, 1)
    prints = pcb_tiles.fingerprints(board.files)
    grouping = group_duplicates(prints)
    labels = np.array([file.label for file in board.files])
    parts = split(labels, grouping.groups, 0, (0.6, 0.2, 0.2))
    assert grouping.n_copies > 0.2 * len(labels)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(part) / len(labels) - share) < 0.05
        assert 0.3 < labels[part].mean() < 0.7
