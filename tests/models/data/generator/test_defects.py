"""Each kind of defect does to the nets what its name says."""

import cv2
import numpy as np
import pytest

from models.data.generator import geometry
from models.data.generator.canvas import Masks
from models.data.generator.defects import DEFECT_KINDS, apply_defect

TRACK = 10.0


def two_tracks():
    """Two separate tracks across a 120 px canvas, and two pads below them."""
    masks = Masks.blank(120, 120)
    for y in (40.0, 62.0):
        geometry.draw_line(masks.copper, np.array([[-20.0, y], [140.0, y]]), TRACK)
    for x in (30.0, 80.0):
        centre = np.array([x, 100.0])
        for mask in (masks.copper, masks.pad):
            geometry.draw_disc(mask, centre, 9)
        geometry.draw_disc(masks.hole, centre, 4)
        masks.holes.append((centre, 4.0))
    return masks


def nets(masks):
    return cv2.connectedComponents(masks.copper)[0] - 1


def broken(kind, seed):
    masks = two_tracks()
    assert apply_defect(masks, kind, TRACK, np.random.default_rng(seed))
    return masks


SEEDS = range(25)
BEFORE = two_tracks()


def test_an_open_cuts_a_track_in_two():
    assert np.mean([nets(broken("open", seed)) == 5 for seed in SEEDS]) > 0.9


def test_a_short_joins_two_nets():
    assert np.mean([nets(broken("short", seed)) == 3 for seed in SEEDS]) > 0.9


@pytest.mark.parametrize("kind", ["mousebite", "pin_hole"])
def test_copper_is_lost_but_the_track_holds(kind):
    for seed in SEEDS:
        masks = broken(kind, seed)
        assert not np.any((masks.copper > 0) & (BEFORE.copper == 0))
        assert (masks.copper > 0).sum() < (BEFORE.copper > 0).sum()
    assert np.mean([nets(broken(kind, seed)) == 4 for seed in SEEDS]) > 0.9


def test_a_pin_hole_is_surrounded_by_copper():
    masks = broken("pin_hole", 0)
    assert (
        cv2.connectedComponents(255 - masks.copper)[0]
        > cv2.connectedComponents(255 - BEFORE.copper)[0]
    )


def test_a_spur_grows_from_a_track_and_touches_no_other():
    for seed in SEEDS:
        masks = broken("spur", seed)
        assert not np.any((masks.copper == 0) & (BEFORE.copper > 0))
        assert (masks.copper > 0).sum() > (BEFORE.copper > 0).sum()
        assert nets(masks) == 4


def test_spurious_copper_is_a_net_of_its_own():
    assert np.mean([nets(broken("spurious_copper", seed)) >= 5 for seed in SEEDS]) > 0.9


def test_a_missing_hole_leaves_the_copper_alone():
    for seed in SEEDS:
        masks = broken("missing_hole", seed)
        assert np.array_equal(masks.copper, BEFORE.copper)
        assert masks.void.any()
        assert np.all(masks.pad[masks.void > 0] == 255)


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_patch_covers_all_that_changed(kind):
    for seed in SEEDS:
        masks = broken(kind, seed)
        assert np.all(masks.patch[masks.copper != BEFORE.copper] == 255)
        assert 0 < (masks.patch > 0).mean() < 0.12


@pytest.mark.parametrize("kind", ["open", "short", "mousebite", "spur", "pin_hole", "missing_hole"])
def test_where_a_kind_has_no_place_nothing_changes(kind):
    masks = Masks.blank(60, 60)
    assert not apply_defect(masks, kind, TRACK, np.random.default_rng(0))
    assert not masks.copper.any()
    assert not masks.patch.any()


def test_a_kind_nobody_knows_is_a_key_error():
    with pytest.raises(KeyError):
        apply_defect(two_tracks(), "burnt", TRACK, np.random.default_rng(0))
