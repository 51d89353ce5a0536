"""A board's picture: its caps before decoding, its tiles as training has them, what is drawn."""

import numpy as np
import pytest
from PIL import Image

from device_agent.errors import BadImageError, StateError
from device_agent.serving import board as board_module
from device_agent.serving.board import drawn_scale, memory_for, open_board, save_picture
from device_agent.serving.images import decode
from device_agent.serving.tiling import Box, Finding, HeatMap
from tests.device_agent.serving.test_images import patterned, png_of

PLENTY = 10**9


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tile_is_what_a_file_of_that_part_would_be(tmp_path, mode, channels):
    path, part = tmp_path / "board.png", tmp_path / "part.png"
    picture = patterned(mode, (90, 60))
    picture.save(path)
    picture.crop((13, 7, 53, 47)).save(part)

    with open_board(path, PLENTY) as board:
        tile = board.tile(Box(13, 7, 53, 47), 32, channels)

    assert np.array_equal(tile, decode(part.read_bytes(), 32, channels)[0])


def test_a_board_over_the_caps_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(10_001, 10_000))
    with pytest.raises(BadImageError, match="100 million"), open_board(path, 10**12):
        pass
    path.write_bytes(png_of(10_000, 9_000))
    scarce = pytest.raises(BadImageError, match=r"needs 450\.0 MB .* 400\.0 MB are free")
    with scarce, open_board(path, 400_000_000):
        pass
    path.write_bytes(b"no image")
    with pytest.raises(BadImageError, match="no image"), open_board(path, PLENTY):
        pass


def test_a_large_board_is_drawn_smaller():
    assert drawn_scale(4000, 4000) == 1
    assert drawn_scale(4001, 4000) == 2
    assert drawn_scale(10_000, 10_000) == 3
    assert memory_for(1000, 1000, "L") < memory_for(1000, 1000, "RGB")


def shown(path, heat_map, found):
    with open_board(path, PLENTY) as board:
        return np.asarray(board.drawn(heat_map, found)).astype(int)


def test_heat_is_red_and_every_finding_has_a_frame(tmp_path):
    path = tmp_path / "board.png"
    Image.new("RGB", (80, 40), (0, 90, 0)).save(path)
    heat = HeatMap((0, 40, 80), (0, 40), ((1.0, 0.0),))
    drawn = shown(path, heat, [Finding(Box(0, 0, 40, 40), 1.0)])

    assert drawn.shape == (40, 80, 3)
    assert drawn[30, 20, 0] > 100
    assert tuple(drawn[30, 60]) == (0, 90, 0)
    assert tuple(drawn[39, 20]) == tuple(drawn[20, 0]) == tuple(drawn[20, 39]) == (255, 225, 0)
    assert tuple(drawn[20, 40]) == (0, 90, 0)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16"])
def test_what_is_drawn_smaller_shows_the_same_places(tmp_path, mode, monkeypatch):
    monkeypatch.setattr(board_module, "_MOST_DRAWN", 1000)
    path = tmp_path / "board.png"
    Image.new("L", (301, 90), 60).convert("I;16" if mode == "I;16" else mode).save(path)
    scale = drawn_scale(301, 90)
    heat = HeatMap((0, 150, 301), (0, 90), ((0.0, 1.0),))
    drawn = shown(path, heat, [Finding(Box(150, 0, 301, 90), 1.0)])

    assert drawn.shape == (-(-90 // scale), -(-301 // scale), 3)
    at = 150 // scale
    assert tuple(drawn[5, at]) == tuple(drawn[5, -1]) == tuple(drawn[-1, at]) == (255, 225, 0)
    assert drawn[5, at - 1, 0] == drawn[5, at - 1, 1]


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    picture = Image.new("RGB", (4, 4))
    save_picture(picture, tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError):
        save_picture(picture, tmp_path / "file" / "a.png")
