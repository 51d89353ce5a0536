"""What counts as a copy, what does not, and that groups never swallow a board."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.data.duplicates import Fingerprint, fingerprint, group_duplicates, straddling
from models.data.generator import generate_tile


def tile(seed, label="ok", px=96):
    return generate_tile(7, seed, label, px)


def groups_of(images, **options):
    return group_duplicates([fingerprint(image) for image in images], **options).groups


def structured(count):
    tiles = (tile(seed) for seed in range(10 * count))
    return [image for image in tiles if not fingerprint(image).plain][:count]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_flipped_or_turned_copy_is_a_copy(turns, mirrored):
    first, second = structured(2)
    copy = np.rot90(first, turns)
    copy = copy[:, ::-1] if mirrored else copy
    assert list(groups_of([first, second, copy])) == [0, 1, 0]


def test_noise_light_and_rescaling_do_not_hide_a_copy():
    first, second = structured(2)
    rng = np.random.default_rng(0)
    noisy = np.clip(first * 1.1 + rng.normal(0, 4, first.shape), 0, 255).astype(np.uint8)
    small = np.asarray(Image.fromarray(first).resize((64, 64)))
    assert list(groups_of([first, noisy, small, second])) == [0, 0, 0, 1]


def test_different_tiles_of_one_board_stay_apart():
    images = structured(30)
    assert len(set(groups_of(images))) >= 28


def test_plain_tiles_are_together_only_when_they_are_equal():
    rng = np.random.default_rng(0)
    plain = [rng.normal(90, 2, (64, 64, 3)).astype(np.uint8) for _ in range(6)]
    assert all(fingerprint(image).plain for image in plain)
    assert list(groups_of([*plain, plain[2].copy()])) == [0, 1, 2, 3, 4, 5, 2]


def test_a_chain_of_copies_is_one_group():
    prints = [Fingerprint(bytes([k]), ((1 << 4 * k) - 1,) * 8, plain=False) for k in range(4)]
    assert list(group_duplicates(prints, threshold_bits=4).groups) == [0, 0, 0, 0]


def test_a_group_that_would_swallow_the_board_is_broken_up():
    hashes = [(1 << k) - 1 for k in range(40)]
    prints = [Fingerprint(bytes([k]), (h,) * 8, plain=False) for k, h in enumerate(hashes)]
    grouping = group_duplicates(prints, threshold_bits=4)
    assert grouping.threshold_bits == 0
    assert len(set(grouping.groups)) == 40


def test_even_equal_hashes_cannot_swallow_the_board():
    prints = [Fingerprint(bytes([k]), (3,) * 8, plain=False) for k in range(40)]
    grouping = group_duplicates(prints)
    assert grouping.threshold_bits == -1
    assert grouping.n_copies == 0


def test_no_images_are_no_groups():
    assert group_duplicates([]).groups.tolist() == []
    assert straddling([], [], 4) == []


def test_finds_what_stands_on_both_sides():
    first, second, third = structured(3)
    prints = [fingerprint(i) for i in (first, second, first[::-1], third)]
    assert straddling(prints, [0, 0, 1, 1], 4) == [0, 2]
    assert straddling(prints, [0, 0, 0, 1], 4) == []


def test_equal_plain_tiles_on_both_sides_are_found():
    plain = np.full((32, 32, 3), 80, np.uint8)
    prints = [fingerprint(plain), fingerprint(plain), fingerprint(plain)]
    assert straddling(prints, [0, 1, 0], 0) == [0, 1, 2]
    assert straddling(prints, [0, 0, 1], 0) == [0, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(0, 20))
def test_groups_do_what_a_plain_loop_does(hashes, bits):
    prints = [Fingerprint(bytes([k]), (h,) * 8, plain=False) for k, h in enumerate(hashes)]
    found = group_duplicates(prints, threshold_bits=bits, largest_share=1.0)
    expected = list(range(len(hashes)))
    for a in range(len(hashes)):
        for b in range(a):
            if (hashes[a] ^ hashes[b]).bit_count() <= found.threshold_bits:
                low, high = sorted((expected[a], expected[b]))
                expected = [low if g == high else g for g in expected]
    same = found.groups[:, None] == found.groups[None]
    wanted = np.array(expected)
    assert np.array_equal(same, wanted[:, None] == wanted[None])


@pytest.mark.parametrize("shape", [(8, 8), (9, 33, 3), (224, 100, 1)])
def test_any_shape_has_a_fingerprint(shape):
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    print_ = fingerprint(image)
    assert len(print_.hashes) == 8
    assert all(0 <= h < 2**64 for h in print_.hashes)
