"""DeepPCB as published, .png or .jpg, cut by group and coloured without losing its defects."""

import cv2
import numpy as np
import pytest

from models.data import deeppcb
from models.data.deeppcb import Box, DeepPcbError, SharedGroupError

needs_data = pytest.mark.skipif(not deeppcb.default_root().is_dir(), reason="DeepPCB is not here")

SIDE = 640


@pytest.fixture
def root(tmp_path):
    """Two groups of one pair each: a track with an open in it, and its template."""
    names = []
    for group, suffix in (("00001", ".jpg"), ("00002", ".png")):
        folder = tmp_path / f"group{group}" / group
        folder.mkdir(parents=True)
        (tmp_path / f"group{group}" / f"{group}_not").mkdir()
        template = np.full((SIDE, SIDE), 255, np.uint8)
        template[300:330] = 0
        tested = template.copy()
        tested[300:330, 200:216] = 255
        cv2.imwrite(str(folder / f"{group}000_temp{suffix}"), template)
        cv2.imwrite(str(folder / f"{group}000_test{suffix}"), tested)
        boxes = f"group{group}/{group}_not/{group}000.txt"
        (tmp_path / boxes).write_text("190 290 226 340 1\n")
        names.append(f"group{group}/{group}/{group}000.jpg {boxes}\n")
    (tmp_path / "trainval.txt").write_text(names[0])
    (tmp_path / "test.txt").write_text(names[1])
    return tmp_path


def test_reads_both_lists_and_either_suffix(root):
    pairs = deeppcb.load_pairs(root)
    assert [pair.group for pair in pairs] == ["00001", "00002"]
    assert [pair.tested.suffix for pair in pairs] == [".jpg", ".png"]
    assert pairs[0].boxes == (Box(190, 290, 226, 340, "open"),)


def test_splits_by_group(root):
    outside, inside = deeppcb.by_group(deeppcb.load_pairs(root), ["00002"])
    assert {p.group for p in outside} == {"00001"}
    assert {p.group for p in inside} == {"00002"}
    deeppcb.require_apart(outside, inside)


def test_refuses_a_group_on_both_sides(root):
    pairs = deeppcb.load_pairs(root)
    with pytest.raises(SharedGroupError, match="00001"):
        deeppcb.require_apart(pairs, pairs[:1])


def test_refuses_a_group_that_is_not_there(root):
    with pytest.raises(KeyError, match="99999"):
        deeppcb.by_group(deeppcb.load_pairs(root), ["99999"])


@pytest.mark.parametrize("seed", range(20))
def test_a_defect_crop_holds_the_whole_defect(root, seed):
    pair = deeppcb.load_pairs(root)[1]
    copper, changed = deeppcb.crop(pair, "defect", np.random.default_rng(seed))
    assert copper.shape == changed.shape
    assert copper.shape[0] == copper.shape[1]
    assert (changed > 0).sum() == 16 * 30
    assert set(np.unique(copper)) == {0, 255}


@pytest.mark.parametrize("seed", range(20))
def test_an_ok_crop_shows_an_unbroken_track(root, seed):
    pair = deeppcb.load_pairs(root)[1]
    copper, changed = deeppcb.crop(pair, "ok", np.random.default_rng(seed))
    assert changed is None
    rows = (copper > 0).sum(axis=1)
    assert set(rows) <= {0, copper.shape[1]}


def test_tiles_alternate_and_say_where_the_defect_is(root):
    made = deeppcb.tiles(deeppcb.load_pairs(root), 0, 8, 64, range(5))
    assert made.images.shape == (8, 64, 64, 3)
    assert made.labels.tolist() == [0, 1] * 4
    assert made.where.any(axis=(1, 2)).tolist() == [False, True] * 4
    assert set(made.boards.tolist()) <= {1, 2}
    again = deeppcb.tiles(deeppcb.load_pairs(root), 0, 8, 64, range(5))
    assert np.array_equal(made.images, again.images)


def test_names_the_list_that_is_missing(tmp_path):
    with pytest.raises(DeepPcbError, match=r"trainval\.txt.*unpacked DeepPCB"):
        deeppcb.load_pairs(tmp_path)


@pytest.mark.parametrize("text", ["1 2 3 4", "1 2 3 4 9", "a b c d 1"])
def test_names_the_box_file_that_is_wrong(root, text):
    file = root / "group00001" / "00001_not" / "00001000.txt"
    file.write_text(text)
    with pytest.raises(DeepPcbError, match=r"00001000\.txt"):
        deeppcb.load_pairs(root)


def test_names_the_scan_that_is_missing(root):
    (root / "group00002" / "00002" / "00002000_temp.png").unlink()
    with pytest.raises(DeepPcbError, match=r"00002000_temp.*neither"):
        deeppcb.load_pairs(root)


@needs_data
def test_the_real_set_is_whole():
    pairs = deeppcb.load_pairs(deeppcb.default_root())
    assert len(pairs) >= 1000
    assert len({pair.group for pair in pairs}) >= 8
    assert {box.kind for pair in pairs for box in pair.boxes} == set(deeppcb.KINDS)


@needs_data
def test_no_scan_of_the_real_set_stands_on_both_sides():
    pairs = deeppcb.load_pairs(deeppcb.default_root())
    for group in sorted({pair.group for pair in pairs}):
        outside, inside = deeppcb.by_group(pairs, [group])
        deeppcb.require_apart(outside, inside)
        files = [
            {p.tested for p in side} | {p.template for p in side} for side in (outside, inside)
        ]
        assert not files[0] & files[1]
        assert len(outside) + len(inside) == len(pairs)


@needs_data
def test_real_boxes_hold_what_differs_from_the_template():
    pairs = deeppcb.load_pairs(deeppcb.default_root())[::200]
    rng = np.random.default_rng(0)
    shares = [(deeppcb.crop(pair, "defect", rng)[1] > 0).mean() for pair in pairs]
    assert min(shares) > 0
    assert 0.0005 < np.median(shares) < 0.03
