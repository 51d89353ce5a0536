"""What is set aside can be put back, whatever happened in between."""

import contextlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.errors import QuarantineError
from device_agent.quality import quarantine
from device_agent.quality.check import check
from device_agent.quality.quarantine import MANIFEST, put_back, set_aside
from device_agent.quality.request import CheckRequest
from tests.device_agent.quality.pictures import write_folder


@pytest.fixture
def folder(tmp_path):
    folder = write_folder(tmp_path / "images", n_ok=4, n_defect=4)
    shutil.copy(folder / "ok" / "001.png", folder / "ok" / "copy.png")
    shutil.copy(folder / "ok" / "002.png", folder / "defect" / "both.png")
    (folder / "ok" / "bad.png").write_text("no image")
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def faults(folder):
    return check(CheckRequest(data=folder), lambda *_: None).findings


def test_what_was_set_aside_comes_back_byte_for_byte(folder, tmp_path):
    before, away = contents(folder), tmp_path / "away"

    moved = set_aside(faults(folder), away)

    assert sorted(m.name for m in moved) == [
        "defect/both.png", "ok/002.png", "ok/bad.png", "ok/copy.png",
    ]  # fmt: skip
    assert len(contents(folder)) == len(before) - 4
    assert put_back(away) == (4, [])
    assert contents(folder) == before
    assert not (away / MANIFEST).exists()


def test_a_second_time_adds_to_the_first(folder, tmp_path):
    before, away = contents(folder), tmp_path / "away"
    set_aside(faults(folder), away)
    (folder / "ok" / "bad.png").write_text("another one")
    set_aside(faults(folder), away)

    assert len(json.loads((away / MANIFEST).read_bytes())["moved"]) == 5
    assert put_back(away) == (4, ["data-2/ok/bad.png"])
    assert contents(folder) == before
    assert (away / "data-2" / "ok" / "bad.png").read_text() == "another one"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 8), st.booleans())
def test_a_break_at_any_step_of_the_moving_loses_nothing(tmp_path_factory, stop_after, in_unlink):
    folder = tmp_path_factory.mktemp("x")
    write_folder(folder, n_ok=3, n_defect=2)
    for number in range(4):
        (folder / "ok" / f"bad{number}.png").write_text(f"no image {number}")
    before, away = contents(folder), folder.parent / f"{folder.name}-away"
    real, left = quarantine.fsync_dir, [stop_after * 2 + int(in_unlink)]

    def breaking(path):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quarantine, "fsync_dir", breaking)
        with contextlib.suppress(KeyboardInterrupt):
            set_aside(faults(folder), away)

    put_back(away)
    assert contents(folder) == before


def test_another_file_system_is_copied_to(folder, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(quarantine.os, "link", refuse)
    before, away = contents(folder), tmp_path / "away"

    set_aside(faults(folder), away)

    assert put_back(away) == (4, [])
    assert contents(folder) == before


def test_nothing_wrong_makes_no_folder(tmp_path):
    folder = write_folder(tmp_path / "images")

    assert set_aside(faults(folder), tmp_path / "away") == []
    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("name", ["../../escaped.png", "/etc/passwd", "", "ok/../../x"])
def test_a_manifest_that_leads_outside_is_refused(tmp_path, name):
    entry = {"folder": str(tmp_path / "images"), "name": name, "kept_as": "data/x", "why": ""}
    (tmp_path / MANIFEST).write_text(json.dumps({"moved": [entry]}))

    with pytest.raises(QuarantineError, match="no quarantine"):
        put_back(tmp_path)


def test_a_folder_without_a_manifest_is_no_quarantine(tmp_path):
    with pytest.raises(QuarantineError):
        put_back(tmp_path / "nowhere")
