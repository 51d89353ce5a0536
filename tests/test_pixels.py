"""Trainer, agent and server see the same pixels of an image file, though none imports another."""

import io

import numpy as np
import pytest
from PIL import Image

from app import inference
from device_agent.serving import images
from models.data.folder import load_image

HEIGHT, WIDTH = 90, 140


def noise(*shape, top=256, kind=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape, kind)


def colour(height=HEIGHT, width=WIDTH):
    smooth = Image.fromarray(noise(9, 14, 3)).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(smooth, Image.fromarray(noise(height, width, 3)), 0.2)


def with_transparency(mode):
    image = colour().convert(mode)
    image.putalpha(Image.fromarray(noise(HEIGHT, WIDTH)))
    return image


def wide(top):
    return Image.fromarray(noise(HEIGHT, WIDTH, top=top, kind=np.uint16))


FILES = {
    "I;16": (wide(65_536), "PNG"),
    "I;16 dark": (wide(4_096), "PNG"),
    "1": (colour().convert("1"), "PNG"),
    "L": (colour().convert("L"), "PNG"),
    "LA": (with_transparency("L"), "PNG"),
    "P": (colour().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "RGB": (colour(), "PNG"),
    "RGBA": (with_transparency("RGB"), "PNG"),
    "CMYK": (colour().convert("CMYK"), "JPEG"),
    "grey JPEG": (colour().convert("L"), "JPEG"),
    "big JPEG": (colour(1100, 1700), "JPEG"),
    "big CMYK": (colour(1100, 1700).convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("px", [32, 128])
@pytest.mark.parametrize("name", FILES)
def test_the_three_programs_decode_alike(tmp_path, name, px, channels):
    image, kind = FILES[name]
    stream = io.BytesIO()
    image.save(stream, kind)
    content = stream.getvalue()
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(content)
    trained = load_image(path, px, channels)
    cloud = inference.decode(content, px=px, channels=channels, max_pixels=4_000_000)
    box = images.decode(content, px, channels)
    assert trained.std() > 0
    assert np.array_equal(cloud, trained)
    assert np.array_equal(box[0], trained)


def test_sixteen_bits_are_not_clipped_to_white():
    stream = io.BytesIO()
    wide(65_536).save(stream, "PNG")
    decoded = inference.decode(stream.getvalue(), px=64, channels=3, max_pixels=4_000_000)
    assert 100 < decoded.mean() < 155


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["I;16", "LA", "P", "RGBA"])
def test_what_the_box_sends_to_the_cloud_is_seen_there_as_on_the_box(name, channels):
    image, kind = FILES[name]
    stream = io.BytesIO()
    image.save(stream, kind)
    sent, _ = images.for_the_cloud(stream.getvalue())
    cloud = inference.decode(sent, px=64, channels=channels, max_pixels=4_000_000)
    assert np.array_equal(cloud, images.decode(stream.getvalue(), 64, channels)[0])
