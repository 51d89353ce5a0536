"""Board seeds decide how a board looks, and nothing else does."""

from dataclasses import asdict

import pytest

from models.data.generator.style import FIRST_FAR_BOARD, BoardStyle, board_style

STYLES = [board_style(seed) for seed in range(300)]
FAR = [board_style(FIRST_FAR_BOARD + k) for k in range(100)]


def test_a_seed_always_means_the_same_board():
    board_style.cache_clear()
    assert [board_style(seed) for seed in range(5)] == STYLES[:5]


@pytest.mark.parametrize("name", BoardStyle.__dataclass_fields__)
def test_every_property_varies_by_board(name):
    assert len({getattr(style, name) for style in STYLES}) > 1


def test_no_two_boards_are_alike():
    assert len({tuple(map(str, asdict(style).values())) for style in STYLES}) == len(STYLES)


def test_most_boards_are_green():
    green = [s for s in STYLES if s.copper[1] > 1.2 * s.copper[0] and s.copper[1] > s.copper[2]]
    assert 0.6 < len(green) / len(STYLES) < 0.9


def test_copper_shows_through_every_mask():
    for style in (*STYLES, *FAR):
        apart = [abs(c - s) for c, s in zip(style.copper, style.substrate, strict=True)]
        assert max(apart) > 8


@pytest.mark.parametrize("name", ["gradient", "blur_px", "noise", "grain"])
def test_a_far_board_is_photographed_worse_than_any_near_one(name):
    assert min(getattr(s, name) for s in FAR) >= max(getattr(s, name) for s in STYLES)


def test_a_far_board_is_darker_or_brighter_and_more_compressed_than_any_near_one():
    near = [s.exposure for s in STYLES]
    assert not [s for s in FAR if min(near) < s.exposure < max(near)]
    assert max(s.jpeg_quality for s in FAR) < min(s.jpeg_quality for s in STYLES)


def test_colours_are_colours():
    for style in (*STYLES, *FAR):
        for colour in (style.substrate, style.copper, style.silver, style.silk, style.void):
            assert all(0 <= part <= 255 for part in colour)
