import os
import subprocess
import sys
import time

import pytest
from PIL import Image

from demo.images import LEAST_PER_CLASS, SUFFIXES, what_is_wrong_with
from models.data.folder import IMAGE_SUFFIXES

PICTURE = Image.effect_noise((16, 16), 40).convert("RGB")


def fill(folder, count=LEAST_PER_CLASS, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        PICTURE.save(folder / f"{number:02}{suffix}")


@pytest.fixture
def data(tmp_path):
    for label in ("ok", "defect"):
        fill(tmp_path / label)
    return tmp_path


def test_a_folder_of_both_classes_is_fine(data):
    assert what_is_wrong_with(data) == ""


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".JPEG", ".png", ".tif", ".TIFF", ".webp"])
def test_every_kind_of_image_that_a_box_reads_is_known(tmp_path, suffix):
    for label in ("ok", "defect"):
        fill(tmp_path / label, suffix=suffix)

    assert what_is_wrong_with(tmp_path) == ""


def test_the_kinds_are_those_of_the_box():
    assert SUFFIXES == IMAGE_SUFFIXES


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    said = what_is_wrong_with(tmp_path / "none")

    assert str(tmp_path / "none") in said
    assert "ok/ and defect/" in said


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "images.zip").touch()

    assert "images.zip is not a folder" in what_is_wrong_with(tmp_path / "images.zip")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "no folder ok and no defect (it is empty)"),
        (["ok"], "no folder defect (it holds ok)"),
        (["OK", "Defects"], "no folder ok and no defect (it holds Defects, OK)"),
        (["a", "b", "c", "d"], "(it holds a, b, c and 1 more)"),
    ],
)
def test_a_missing_class_is_named_with_what_is_there_instead(tmp_path, made, words):
    for name in made:
        (tmp_path / name).mkdir()

    assert words in what_is_wrong_with(tmp_path)


def test_an_empty_class_says_how_many_more_are_needed(data):
    for path in (data / "defect").iterdir():
        path.unlink()

    said = what_is_wrong_with(data)

    assert f"{data / 'defect'} holds 0 images" in said
    assert f"Add {LEAST_PER_CLASS} more" in said


def test_too_few_say_how_many_more_are_needed(data):
    (data / "ok" / "00.png").unlink()

    assert f"holds {LEAST_PER_CLASS - 1} images" in what_is_wrong_with(data)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x00" * 1000, b"<html>"])
def test_damaged_images_do_not_count_and_are_named(data, content):
    (data / "ok" / "03.png").write_bytes(content)

    said = what_is_wrong_with(data)

    assert f"holds {LEAST_PER_CLASS - 1} images, and 1 that are damaged (03.png)" in said


def test_a_photograph_that_was_copied_halfway_does_not_count(tmp_path):
    for label in ("ok", "defect"):
        fill(tmp_path / label, suffix=".jpg")
    half = tmp_path / "ok" / "00.jpg"
    half.write_bytes(half.read_bytes()[:200])

    assert "1 that are damaged (00.jpg)" in what_is_wrong_with(tmp_path)


def test_damaged_images_beside_enough_good_ones_are_left_to_the_box(data):
    (data / "ok" / "zz.png").write_bytes(b"")

    assert what_is_wrong_with(data) == ""


def test_files_that_are_no_images_and_hidden_ones_do_not_count(data):
    (data / "ok" / "00.png").rename(data / "ok" / ".00.png")
    (data / "ok" / "notes.txt").touch()
    (data / "ok" / "folder.png").mkdir()

    assert f"holds {LEAST_PER_CLASS - 1} images;" in what_is_wrong_with(data)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(data):
    (data / "ok").chmod(0)

    assert "Check its permissions" in what_is_wrong_with(data)


def test_a_folder_of_many_images_is_judged_in_no_time(data):
    first = data / "ok" / "00.png"
    for number in range(20_000):
        os.link(first, data / "ok" / f"more{number}.png")
    before = time.process_time()

    assert what_is_wrong_with(data) == ""
    assert time.process_time() - before < 2.0


def test_the_check_needs_nothing_but_the_standard_library():
    code = (
        "import sys, demo.images\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'PIL', 'numpy', 'rich', 'cv2'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
