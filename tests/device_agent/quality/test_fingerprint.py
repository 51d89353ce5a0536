"""The box tells copies as the fine-tune program does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device_agent.quality import fingerprint as box
from device_agent.serving.images import decode
from models.data import duplicates as lab
from models.data import pcb_tiles
from models.data.generator.boards import write_board
from tests.device_agent.quality.pictures import picture


def same(image):
    ours, theirs = box.fingerprint(image), lab.fingerprint(image)
    return (ours.digest, ours.hashes, ours.plain) == (theirs.digest, theirs.hashes, theirs.plain)


@settings(deadline=None, max_examples=30)
@given(arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40), st.sampled_from((1, 3)))))
def test_any_image_has_the_fingerprint_that_the_trainer_takes(image):
    assert same(image)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    files = write_board(tmp_path_factory.mktemp("b"), 9001, n_ok=10, n_defect=10, px=128, seed=0)
    tiles = [decode(path.read_bytes(), 128, 3)[0] for path in files]
    return [*tiles, tiles[3][:, ::-1], tiles[5].copy(), tiles[7].transpose(1, 0, 2)]


def as_sets(groups):
    return {frozenset(np.flatnonzero(groups == name).tolist()) for name in np.unique(groups)}


def test_tiles_are_grouped_as_the_trainer_groups_them(pixels):
    ours, bits = box.group_copies([box.fingerprint(image) for image in pixels])
    theirs = lab.group_duplicates(
        [lab.fingerprint(image) for image in pixels], threshold_bits=box.THRESHOLD_BITS
    )

    assert bits == theirs.threshold_bits
    assert as_sets(ours) == as_sets(theirs.groups)
    assert {3, 20} <= next(group for group in as_sets(ours) if 20 in group)


def test_photographs_are_grouped_as_the_trainer_groups_them():
    root = pcb_tiles.default_root()
    if not root.is_dir():
        pytest.skip("the photographs of real boards are not beside the project")
    board = pcb_tiles.load_boards(root)[0]
    images = [decode(f.path.read_bytes(), 128, 3)[0] for f in board.files[::40]]

    ours, _ = box.group_copies([box.fingerprint(image) for image in images])
    theirs = lab.group_duplicates([lab.fingerprint(i) for i in images], threshold_bits=4)

    assert as_sets(ours) == as_sets(theirs.groups)


def test_a_group_bears_the_number_of_its_first_member(pixels):
    groups, _ = box.group_copies([box.fingerprint(image) for image in pixels])

    assert all(groups[number] == number <= row for row, number in enumerate(groups))


def test_look_alikes_lower_the_threshold_until_the_groups_are_small():
    flat = np.asarray(picture(1, 128))
    shades = [np.clip(flat.astype(int) + step, 0, 255).astype(np.uint8) for step in range(20)]

    groups, bits = box.group_copies([box.fingerprint(image) for image in shades])

    assert bits == -1
    assert len(set(groups.tolist())) == 20


def test_a_turned_copy_in_another_folder_is_found():
    known = [box.fingerprint(np.asarray(picture(seed, 128))) for seed in range(5)]
    asked = [
        box.fingerprint(np.ascontiguousarray(np.rot90(np.asarray(picture(3, 128))))),
        box.fingerprint(np.asarray(picture(77, 128))),
    ]

    assert box.first_copies(asked, known, 4) == {0: 3}
    assert box.first_copies(asked, known, -1) == {}
    assert box.group_copies([]) == (pytest.approx([]), 4)
