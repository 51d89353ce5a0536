"""The photograph follows the masks and the style, whatever is on the tile."""

from dataclasses import replace

import numpy as np
import pytest

from models.data.generator.canvas import Masks
from models.data.generator.render import render
from models.data.generator.style import board_style

STILL = replace(
    board_style(0), noise=0.0, grain=0.0, gradient=0.0, blur_px=0.0, relief=0.0, edge_tone=0.0,
    shadow=0.0, exposure=1.0, white_balance=(1.0, 1.0, 1.0), flat_defects=0.0, jpeg_quality=95,
    open_holes=False,
)  # fmt: skip


def photograph(masks, style=STILL, seed=0, px=64):
    return render(masks, style, np.random.default_rng(seed), px)


def half(name):
    masks = Masks.blank(96, 96)
    getattr(masks, name)[:, :48] = 255
    return masks


@pytest.mark.parametrize(
    ("layer", "colour"),
    [("copper", STILL.copper), ("silk", STILL.silk), ("outside", STILL.background)],
)
def test_each_layer_has_its_colour(layer, colour):
    left = photograph(half(layer))[:, 8:20].reshape(-1, 3).mean(axis=0)
    assert np.abs(left - colour).max() < 0.15 * max(colour) + 4


def test_bare_board_has_the_colour_of_the_substrate():
    bare = photograph(Masks.blank(96, 96)).reshape(-1, 3).mean(axis=0)
    assert np.abs(bare - STILL.substrate).max() < 0.12 * max(STILL.substrate) + 4


def test_tin_shines_out_of_the_mask():
    masks = half("pad")
    masks.copper[:] = masks.pad
    image = photograph(masks).astype(int)
    assert image[:, 8:20].mean() > image[:, 48:].mean() + 30


def test_a_hole_that_did_not_open_differs_from_one_that_did():
    def pad(name):
        masks = Masks.blank(96, 96)
        masks.copper[20:76, 20:76] = masks.pad[20:76, 20:76] = 255
        getattr(masks, name)[38:58, 38:58] = 255
        return photograph(masks).astype(int)[28:36, 28:36]

    assert np.abs(pad("hole") - pad("void")).mean() > 20


@pytest.mark.parametrize("size", [(50, 96), (96, 50), (200, 200), (64, 64)])
def test_any_canvas_becomes_the_square_asked_for(size):
    assert photograph(Masks.blank(*size), px=40).shape == (40, 40, 3)


def test_noise_and_light_come_from_the_seed():
    noisy = replace(STILL, noise=5.0, gradient=0.1)
    one, same, other = (photograph(half("copper"), noisy, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_photographing_does_not_touch_the_masks():
    masks = half("copper")
    before = masks.copper.copy()
    photograph(masks, board_style(5))
    assert np.array_equal(before, masks.copper)
