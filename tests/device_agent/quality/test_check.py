"""Every kind of fault, planted in a folder, is found where it is and nowhere else."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from contract.reference import ReferenceStatistics
from device_agent.errors import DataUnusableError
from device_agent.quality.check import BLOCK, check
from device_agent.quality.findings import Finding, least_px
from device_agent.quality.look import ImageFile
from device_agent.quality.request import CheckRequest
from models.reference import reference_of
from tests.device_agent.fleet import PX, tiny_model
from tests.device_agent.quality.pictures import picture, write_folder


def look(folder, **more):
    return check(CheckRequest(data=folder, **more), lambda *_: None)


def found(quality):
    return {(finding.kind, finding.file.name) for finding in quality.findings}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "images")


def test_good_images_have_no_findings(folder):
    quality = look(folder)

    assert quality.findings == ()
    assert [(t.label, t.found, t.usable) for t in quality.counts.data] == [
        ("ok", 6, 6),
        ("defect", 6, 6),
    ]
    assert quality.verdict.trainable
    assert not quality.verdict.enough


def test_each_fault_is_found_and_named(folder):
    (folder / "ok" / "text.png").write_text("no image")
    whole = (folder / "ok" / "001.png").read_bytes()
    (folder / "ok" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "ok" / "empty.png").write_bytes(b"")
    picture(40, 31).save(folder / "ok" / "tiny.png")
    shutil.copy(folder / "ok" / "002.png", folder / "ok" / "z-same-file.png")
    with Image.open(folder / "ok" / "003.png") as image:
        image.save(folder / "ok" / "z-same-picture.bmp")
        image.transpose(Image.Transpose.ROTATE_90).save(folder / "ok" / "z-turned.png")
    with Image.open(folder / "ok" / "004.png") as image:
        image.save(folder / "ok" / "z-saved-again.jpg", quality=80)
    shutil.copy(folder / "ok" / "005.png", folder / "defect" / "both.png")

    quality = look(folder)

    assert found(quality) == {
        ("unreadable", "ok/text.png"),
        ("unreadable", "ok/torn.png"),
        ("unreadable", "ok/empty.png"),
        ("tiny", "ok/tiny.png"),
        ("duplicate", "ok/z-same-file.png"),
        ("duplicate", "ok/z-same-picture.bmp"),
        ("near_duplicate", "ok/z-turned.png"),
        ("near_duplicate", "ok/z-saved-again.jpg"),
        ("contradiction", "ok/005.png"),
        ("contradiction", "defect/both.png"),
    }
    assert [(t.found, t.usable) for t in quality.counts.data] == [(14, 5), (7, 6)]
    assert quality.findings[0].kind == "contradiction"
    others = {f.file.name: f.other.name for f in quality.findings if f.other}
    assert others["ok/z-turned.png"] == "ok/003.png"


def test_a_test_image_that_is_trained_on_is_found_even_turned(folder, tmp_path):
    test = write_folder(tmp_path / "test", n_ok=0, n_defect=0)
    picture(77).save(test / "ok" / "new.png")
    picture(78).save(test / "defect" / "new.png")
    with Image.open(folder / "ok" / "001.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test / "ok" / "seen.png")
    shutil.copy(folder / "ok" / "002.png", test / "defect" / "worse.png")

    quality = look(folder, test_data=test)

    assert found(quality) == {
        ("across_split", "test:ok/seen.png"),
        ("contradiction", "test:defect/worse.png"),
        ("contradiction", "ok/002.png"),
    }
    assert [(t.found, t.usable) for t in quality.counts.test] == [(2, 1), (2, 1)]


def test_a_label_that_contradicts_the_network_is_suspicious(tmp_path):
    """The fleet's little network sees brightness: one bright image stands among the dark ones."""
    for label, level in (("ok", 20), ("defect", 180)):
        (tmp_path / label).mkdir()
        for number in range(12):
            shade = level + 4 * number
            Image.new("RGB", (PX, PX), (shade,) * 3).save(tmp_path / label / f"{number:02}.png")
    Image.new("RGB", (PX, PX), (230,) * 3).save(tmp_path / "ok" / "odd.png")
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())

    quality = look(tmp_path, model=model, input_px=PX)

    assert found(quality) == {("suspicious_label", "ok/odd.png")}
    assert quality.labels.n_judged == 25
    assert quality.labels.accuracy > 0.9


def test_a_network_that_is_damaged_judges_nothing(folder, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"bad")

    quality = look(folder, model=model, input_px=PX, model_sha256="0" * 64)

    assert "damaged" in quality.labels.skipped
    assert "no network" in look(folder).labels.skipped


def test_images_darker_than_the_release_has_seen_are_said_to_be(tmp_path, folder):
    seen = [picture(seed, 128) for seed in range(60)]
    reference = reference_of(np.asarray(image) for image in seen)
    dark = tmp_path / "dark"
    for label in ("ok", "defect"):
        (dark / label).mkdir(parents=True)
        for number in range(15):
            picture(300 + number).point(lambda v: v // 4).save(dark / label / f"{number}.png")

    quality = look(dark, reference=reference)

    assert quality.summary().body.shift > 1.0
    assert "look at camera and light" in quality.advice()
    assert look(folder, reference=reference).shift.n == 12
    assert isinstance(reference, ReferenceStatistics)


def test_progress_tells_every_image_once(folder):
    told = []

    check(CheckRequest(data=folder), lambda *step: told.append(step))

    assert told == [("reading", done, 12) for done in range(1, 13)]


def test_only_the_images_that_the_trainer_would_find_are_looked_at(folder):
    (folder / "ok" / ".hidden.png").write_text("no image")
    (folder / "ok" / "notes.txt").write_text("no image")
    (folder / "ok" / "deeper").mkdir()
    picture(1).save(folder / "ok" / "deeper" / "1.png")

    assert look(folder).findings == ()


@pytest.mark.parametrize("make", ["nothing", "file", "empty"])
def test_a_folder_that_cannot_be_used_is_named(tmp_path, make):
    folder = tmp_path / "x"
    if make == "file":
        folder.write_text("")
    elif make == "empty":
        folder.mkdir()

    with pytest.raises(DataUnusableError, match=r"ok/ (and|nor) defect/"):
        look(folder)


def test_a_missing_class_is_not_enough_but_no_crash(tmp_path):
    folder = write_folder(tmp_path / "one", n_defect=0)
    (folder / "defect").rmdir()

    quality = look(folder)

    assert not quality.verdict.trainable
    assert "Add 3 images to defect: 0 of 3 usable" in quality.verdict.refusal


def test_what_is_reported_holds_counts_and_never_a_name(folder):
    shutil.copy(folder / "ok" / "002.png", folder / "ok" / "secret-name.png")

    summary = look(folder).summary()

    assert summary.body.findings == {"duplicate": 1}
    assert summary.body.class_counts == {"ok": 7, "defect": 6}
    assert "secret-name" not in summary.model_dump_json()


def test_a_name_that_no_terminal_can_show_is_shown_with_question_marks(folder):
    name = os.fsdecode(b"\xff\n.png")
    (folder / "ok" / name).write_text("no image")

    (finding,) = look(folder).findings

    assert finding.file.name == "ok/??.png"
    assert isinstance(finding, Finding)
    assert isinstance(finding.file, ImageFile)


def test_the_least_size_follows_the_network():
    assert [least_px(px) for px in (None, 32, 64, 224)] == [32, 32, 32, 112]
    assert BLOCK >= 500
