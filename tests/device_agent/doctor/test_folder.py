"""The checks of program, state folder and models, each provoked by the real thing."""

import os
import shutil
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.report import EventBody
from device_agent.disk.paths import lock_state
from device_agent.disk.shelf import Shelf
from device_agent.doctor import folder, model, program
from device_agent.doctor.finding import Patient
from device_agent.machine.profile import ProbeFailedError
from device_agent.server.outbox import Outbox
from device_agent.settings import AgentSettings
from tests.device_agent.mending import assert_can_be_given

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil gives it


def wrong(finding, level="fail"):
    assert finding.level == level, finding
    assert_can_be_given(finding.mend)
    return finding


@pytest.fixture
def box(stopped_box, settings):
    assert stopped_box == settings.state
    return Patient(settings=settings)


@pytest.fixture
def patient(settings):
    return Patient(settings=settings)


def test_the_program_is_in_order_here(patient):
    assert program.check_python(patient).level == "ok"
    assert program.check_packages(patient).level == "ok"


def test_an_old_python_is_found(patient, monkeypatch):
    monkeypatch.setattr(program, "_LEAST_PYTHON", (99, 0))
    wrong(program.check_python(patient))


def test_a_missing_package_is_found(patient, monkeypatch):
    assert program.missing_packages(("numpy", "no-such-package")) == ["no-such-package"]
    monkeypatch.setattr(program, "_NEEDED", ("no-such-package",))
    assert "no-such-package" in wrong(program.check_packages(patient)).found


def test_a_runtime_that_does_not_load_is_found(settings):
    def broken():
        raise ProbeFailedError("onnxruntime cannot be measured here: no such library")

    found = wrong(program.check_runtime(Patient(settings=settings, probe=broken))).found
    assert "no such library" in found


def test_a_misspelt_variable_is_found(settings):
    environ = {"PARETOFLEET_AGENT_RM_CAP": "1", "PARETOFLEET_AGENT_CONFIG": "x",
               "PARETOFLEET_AGENT_RAM_CAP": "1GB", "HOME": "/"}  # fmt: skip
    finding = wrong(program.check_settings(Patient(settings=settings, environ=environ)), "warn")

    assert "do you mean PARETOFLEET_AGENT_RAM_CAP?" in finding.found
    assert finding.mend == "unset PARETOFLEET_AGENT_RM_CAP"


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o640, "warn"), (0o604, "warn")])
def test_a_token_that_others_may_read_is_found(settings, tmp_path, mode, level):
    file = tmp_path / "a token"
    file.write_text("t")
    file.chmod(mode)
    for place in ({"token_file": file}, {"file": file, "token_in_file": True}):
        finding = program.check_secrets(Patient(settings=settings, **place))
        assert finding.level == level
        assert finding.mend in {None, f"chmod 600 '{file}'"}


def test_no_token_is_no_trouble(patient):
    assert program.check_secrets(patient).level == "skip"


def test_a_state_folder_that_is_a_file_is_found(tmp_path):
    (tmp_path / "s").write_text("")
    for place in (tmp_path / "s", tmp_path / "s" / "below"):
        wrong(folder.check_folder(Patient(settings=AgentSettings(state=place))))


def test_a_state_folder_that_may_not_be_written_is_found(patient, monkeypatch):
    patient.paths.make()
    monkeypatch.setattr(os, "access", lambda *_args, **_kwargs: False)
    assert "chown" in wrong(folder.check_folder(patient)).mend


def test_a_state_folder_yet_to_be_made_is_no_trouble(patient):
    assert folder.check_folder(patient).level == "ok"
    assert not patient.paths.root.exists()


def test_a_running_agent_is_seen_without_touching_its_lock(patient):
    patient.paths.make()
    assert "no agent runs" in folder.check_folder(patient).found
    lock = lock_state(patient.paths)
    try:
        assert f"agent {os.getpid()} runs" in folder.check_folder(patient).found
        assert folder.check_leftovers(patient).level == "skip"
    finally:
        os.close(lock)


@pytest.mark.parametrize(("free", "level"), [(10**6, "fail"), (10**8, "warn"), (10**10, "ok")])
def test_a_full_disk_is_found(patient, monkeypatch, free, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**11, 0, free))
    finding = folder.check_disk(patient)
    assert finding.level == level
    if finding.mend:
        assert_can_be_given(finding.mend)


def test_an_identity_that_others_may_read_is_found(box):
    assert folder.check_identity_file(box).level == "ok"
    box.paths.identity.chmod(0o644)
    assert wrong(folder.check_identity_file(box)).mend.startswith("chmod 600 ")


@pytest.mark.parametrize("damage", [b"{", b"", b'{"device_id": 3, "step": 4}', b"\xff"])
def test_a_damaged_identity_or_state_is_found(box, damage):
    for path, check in ((box.paths.identity, folder.check_identity_file),
                        (box.paths.state, folder.check_state_file)):  # fmt: skip
        assert check(box).level == "ok"
        path.write_bytes(damage)
        assert wrong(check(box)).mend.startswith("mv ")
        assert path.read_bytes() == damage


def test_a_damaged_outbox_is_found(box):
    assert folder.check_outbox(box).level == "ok"
    box.paths.outbox.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    wrong(folder.check_outbox(box))


def test_a_page_of_the_outbox_that_went_bad_is_found(patient):
    with Outbox(patient.paths.outbox) as outbox:
        for number in range(300):
            outbox.add(f"k{number}", EventBody(name="e", fields={"t": "x" * 200}), _now())
    data = bytearray(patient.paths.outbox.read_bytes())
    data[8192 : 8192 + 3000] = b"\xff" * 3000
    patient.paths.outbox.write_bytes(data)
    wrong(folder.check_outbox(patient))


def _now():
    return datetime.now(UTC)


def test_a_backlog_is_found_even_while_it_lies_in_the_log(patient):
    with Outbox(patient.paths.outbox) as outbox:
        outbox.add("k", EventBody(name="e", fields={"t": "x" * 1000}), _now())
        assert "1 reports wait" in folder.check_outbox(patient).found
        small = patient.settings.model_copy(update={"outbox_bytes": 1500})
        wrong(folder.check_outbox(Patient(settings=small)), "warn")


def test_leftovers_are_found(box):
    assert folder.check_leftovers(box).level == "ok"
    left = box.paths.jobs / "old-task" / "out"
    left.mkdir(parents=True)
    (left / "checkpoint").write_bytes(b"x" * 1000)
    part = box.paths.cache / "abc.part"
    part.write_bytes(b"x" * 500)
    finding = wrong(folder.check_leftovers(box), "warn")
    assert finding.found.startswith("1 left over (1.0 kB)")
    os.utime(part, (time.time() - 10**6,) * 2)
    assert folder.check_leftovers(box).found.startswith("2 left over (1.5 kB)")


def test_a_good_model_is_tried(box):
    assert model.check_active(box).level == "ok"
    assert model.check_previous(box).level == "ok"


def test_no_model_is_no_trouble(patient):
    assert model.check_active(patient).level == "skip"
    assert model.check_previous(patient).level == "skip"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_model_is_found(box):
    shelf = Shelf(box.paths)
    _flip(shelf.folder(shelf.active_id()) / "model.onnx")
    assert "SHA-256" in wrong(model.check_active(box)).found


def test_a_damaged_manifest_is_found(box):
    shelf = Shelf(box.paths)
    (shelf.folder(shelf.active_id()) / "manifest.json").write_text("{")
    assert "manifest" in wrong(model.check_active(box)).found


def test_a_model_that_the_runtime_refuses_is_found(box):
    finding = wrong(model.check_active(box, lambda *_: "the runtime ended with -11"))
    assert "-11" in finding.found


def test_a_lost_last_known_good_is_found(box):
    (box.paths.root / "previous").symlink_to("models/gone")
    wrong(model.check_previous(box), "warn")
    assert model.check_active(box).level == "ok"


def test_a_link_to_nothing_is_found(box):
    shelf = Shelf(box.paths)
    shutil.rmtree(shelf.folder(shelf.active_id()))
    wrong(model.check_active(box))


def test_a_clock_set_back_makes_no_leftover(patient):
    patient.paths.make()
    part = patient.paths.cache / "abc.part"
    part.write_bytes(b"x")
    back = Patient(settings=patient.settings, now=lambda: _now() - timedelta(days=3))
    assert folder.check_leftovers(back).level == "ok"
