"""Folders as factories hand them over: tidy, untidy, broken."""

import numpy as np
import pytest
from PIL import Image

from models.data import folder as data
from models.data.folder import (
    EmptyClassError,
    LabelledFile,
    MissingClassFolderError,
    SingleClassError,
    TooFewReadableError,
    TooManyPixelsError,
    UnreadableFolderError,
    UnreadableImageError,
    load_each,
    load_image,
    require_enough,
    scan_folder,
)

CLASSES = ("ok", "defect")


def save(path, colour=(10, 120, 30), size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def test_lists_the_images_of_each_class_by_name(tmp_path):
    for name in ("ok/b.png", "ok/a.JPG", "defect/c.jpeg"):
        save(tmp_path / name)
    (tmp_path / "ok" / "notes.txt").write_text("not an image")
    save(tmp_path / "ok" / ".thumb.png")
    (tmp_path / "ok" / "folder.png").mkdir()
    found = scan_folder(tmp_path, CLASSES)
    assert [(f.path.name, f.label) for f in found] == [("a.JPG", 0), ("b.png", 0), ("c.jpeg", 1)]


def test_says_which_class_folder_is_missing_and_which_are_there(tmp_path):
    save(tmp_path / "good" / "a.png")
    save(tmp_path / "ok" / "a.png")
    with pytest.raises(MissingClassFolderError, match=r"no sub-folder defect.*good, ok") as caught:
        scan_folder(tmp_path, CLASSES)
    assert caught.value.missing == ("defect",)


def test_says_that_a_class_is_empty(tmp_path):
    save(tmp_path / "ok" / "a.png")
    (tmp_path / "defect").mkdir()
    with pytest.raises(EmptyClassError, match=r"defect holds no image: add"):
        scan_folder(tmp_path, CLASSES)


@pytest.mark.parametrize("classes", [(), ("ok",), ("ok", "ok")])
def test_refuses_to_tell_one_class_apart(tmp_path, classes):
    with pytest.raises(SingleClassError, match="at least two classes"):
        scan_folder(tmp_path, classes)


def test_says_that_the_folder_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableFolderError, match="check the path"):
        scan_folder(tmp_path / "nowhere", CLASSES)
    file = save(tmp_path / "a.png")
    with pytest.raises(UnreadableFolderError, match="cannot read the folder"):
        scan_folder(file, CLASSES)


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (3, "L"), (3, "RGBA"), (1, "RGB")])
def test_stretches_every_kind_of_image_to_the_square(tmp_path, channels, mode):
    colour = {"RGB": (10, 120, 30), "L": 99, "RGBA": (10, 120, 30, 255)}[mode]
    path = save(tmp_path / "a.png", colour, mode=mode)
    image = load_image(path, 16, channels)
    assert image.shape == (16, 16, channels)
    assert image.dtype == np.uint8
    assert image.min() >= 0
    assert image.std(axis=(0, 1)).max() == 0


def test_scales_sixteen_bit_grey_instead_of_clipping_it(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(path)
    assert np.all(load_image(path, 8, 3) == 128)


def test_agrees_with_plain_pillow_on_a_jpeg_that_is_not_large(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path)
    with Image.open(path) as image:
        plain = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(load_image(path, 32, 3), np.asarray(plain))


def test_a_large_jpeg_read_at_reduced_scale_looks_the_same(tmp_path):
    ramp = np.linspace(0, 255, 1600)[:, None, None]
    path = tmp_path / "large.jpg"
    Image.fromarray(np.broadcast_to(ramp, (1600, 1200, 3)).astype(np.uint8)).save(path)
    expected = np.linspace(0, 255, 33)
    middle = (expected[:-1] + expected[1:]) / 2
    assert np.abs(load_image(path, 32, 3)[:, 16, 0] - middle).max() < 4


def test_refuses_too_many_pixels_before_decoding(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", size=(100, 100))
    monkeypatch.setattr(data, "MAX_PIXELS", 9_999)
    with pytest.raises(TooManyPixelsError, match="100 x 100"):
        load_image(path, 8, 3)


@pytest.mark.parametrize("size", [(9_500, 9_500), (20_000, 20_000)])
def test_refuses_a_decompression_bomb_with_a_name(tmp_path, size):
    path = tmp_path / "bomb.png"
    Image.new("1", size).save(path)
    with pytest.raises(UnreadableImageError, match=r"bomb\.png"):
        load_image(path, 8, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 broken"])
def test_names_the_file_that_is_corrupt(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"broken\.jpg"):
        load_image(path, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_a_file_cut_anywhere_is_read_or_refused_by_name(tmp_path, suffix):
    noise = np.random.default_rng(1).integers(0, 255, (24, 24, 3), np.uint8)
    whole = tmp_path / f"whole{suffix}"
    Image.fromarray(noise).save(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for length in range(0, len(content), max(1, len(content) // 40)):
        cut.write_bytes(content[:length])
        dropped = []
        shapes = [image.shape for _, image in load_each([LabelledFile(cut, 0)], 8, 3, dropped)]
        assert shapes == [(8, 8, 3)] or dropped == [cut]


def test_goes_on_without_the_unreadable_and_names_them(tmp_path):
    good, bad = save(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_bytes(b"broken")
    dropped = []
    files = [LabelledFile(good, 0), LabelledFile(bad, 1)]
    read = list(load_each(files, 8, 3, dropped))
    assert [file.path for file, _ in read] == [good]
    assert dropped == [bad]


def test_says_how_many_images_are_missing_once_the_broken_ones_are_gone(tmp_path):
    dropped = [tmp_path / f"{k}.png" for k in range(7)]
    with pytest.raises(TooFewReadableError, match=r"defect has 1 .* needs 3.*and 2 more.*add 2"):
        require_enough([0, 0, 0, 1], CLASSES, dropped, least=3)
    require_enough([0, 0, 1, 1], CLASSES, dropped, least=2)
