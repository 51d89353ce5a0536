"""Images: caps before decoding, the form that graphs take, the form that the cloud takes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from device_agent.errors import BadImageError
from device_agent.serving.images import MOST_BYTES, decode, for_the_cloud
from models.data.folder import load_image
from tests.device_agent.conftest import image_bytes


def png_of(width: int, height: int) -> bytes:
    """A tiny file that claims to be a huge picture."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b""
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        body += (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_picture_becomes_a_square_of_bytes(mode, channels):
    stream = io.BytesIO()
    Image.new(mode, (50, 20)).save(stream, "PNG")
    array = decode(stream.getvalue(), 32, channels)

    assert array.shape == (1, 32, 32, channels)
    assert array.dtype == "uint8"


def patterned(mode: str, size: tuple[int, int] = (90, 60)) -> Image.Image:
    """A picture whose pixels all differ from their neighbours, in every mode that files come in."""
    chance = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(chance.integers(0, 0xFFFF, size[::-1], dtype=np.uint16))
    colours = Image.fromarray(chance.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))
    if mode not in {"LA", "RGBA"}:
        return colours.convert(mode)
    colours.putalpha(colours.convert("L"))
    return colours.convert(mode)


PICTURES = [
    ("I;16", "PNG", (90, 60)), ("I;16", "TIFF", (90, 60)), ("L", "PNG", (90, 60)),
    ("LA", "PNG", (90, 60)), ("P", "PNG", (90, 60)), ("RGBA", "PNG", (90, 60)),
    ("CMYK", "JPEG", (90, 60)), ("CMYK", "TIFF", (90, 60)), ("RGB", "JPEG", (1600, 1200)),
    ("L", "JPEG", (1600, 1200)),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "kind", "size"), PICTURES)
@pytest.mark.parametrize("channels", [1, 3])
def test_serving_sees_the_pixels_that_training_saw(tmp_path, mode, kind, size, channels):
    path = tmp_path / f"picture.{kind.lower()}"
    patterned(mode, size).save(path, kind)

    served = decode(path.read_bytes(), 32, channels)[0]

    assert np.array_equal(served, load_image(path, 32, channels))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_cloud_is_shown_16_bits_as_the_8_that_training_saw(tmp_path, kind):
    path = tmp_path / f"picture.{kind.lower()}"
    patterned("I;16").save(path, kind)

    sent, media_type = for_the_cloud(path.read_bytes())

    assert media_type == "image/png"
    assert np.array_equal(decode(sent, 32, 1)[0], load_image(path, 32, 1))


def test_a_pixel_bomb_is_refused_before_decoding():
    with pytest.raises(BadImageError, match="8000 x 8000"):
        decode(png_of(8000, 8000), 32, 3)
    with pytest.raises(BadImageError):
        decode(png_of(200_000, 200_000), 32, 3)
    with pytest.raises(BadImageError):
        decode(b"\0" * (MOST_BYTES + 1), 32, 3)


def test_channels_that_no_picture_has_are_refused():
    with pytest.raises(BadImageError, match="4 channels"):
        decode(image_bytes(), 32, 4)


def test_the_cloud_gets_png_or_jpeg():
    png = image_bytes()
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "BMP")

    assert for_the_cloud(png) == (png, "image/png")
    converted, media_type = for_the_cloud(stream.getvalue())
    assert media_type == "image/png"
    assert converted.startswith(b"\x89PNG")
