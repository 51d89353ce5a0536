"""What a box says of itself."""

import json
import os
from pathlib import Path

import pytest

from device_agent.errors import DataUnusableError
from device_agent.machine.profile import (
    CLASSES,
    ProbeFailedError,
    Survey,
    count_images,
    probed,
    profile_changed,
    run_probe,
    take_profile,
)
from models.data.folder import scan_folder
from tests.device_agent.conftest import make_profile

ANSWER = {
    "runtime_floor_bytes": 5,
    "benchmark_ms": 1.0,
    "providers": ["CPU"],
    "versions": {"a": "1"},
}


def test_the_probe_measures_this_machine():
    answer = run_probe()

    assert 20_000_000 < answer["runtime_floor_bytes"] < 200_000_000
    assert 0 < answer["benchmark_ms"] < 5000
    assert "CPUExecutionProvider" in answer["providers"]


def test_a_measurement_is_taken_once_for_the_same_versions(tmp_path):
    asked = []

    def run():
        asked.append(1)
        return ANSWER

    for cpu in ("cpu", "cpu", "another cpu"):
        assert probed(tmp_path / "probe.json", cpu, run).runtime_floor_bytes == 5
    assert len(asked) == 2


def test_a_corrupt_cache_is_measured_anew(tmp_path):
    (tmp_path / "probe.json").write_text("{")

    assert probed(tmp_path / "probe.json", "cpu", lambda: ANSWER).benchmark_ms == 1.0


def test_a_runtime_that_cannot_be_loaded_is_named(monkeypatch):
    monkeypatch.setattr("device_agent.machine.profile.sys.executable", "/bin/false")

    with pytest.raises(ProbeFailedError, match="reinstall"):
        run_probe()


def test_counts_the_images_that_training_reads_and_nothing_else(data):
    (data / "ok" / "notes.txt").write_text("x")
    (data / "ok" / ".hidden.png").write_text("x")
    (data / "ok" / "sub").mkdir()
    (data / "ok" / "sub" / "6.JPG").write_text("x")
    (data / "ok" / "7.JPG").write_text("x")
    (data / "defect" / "folder.png").mkdir()

    assert count_images(data) == (6, 5)
    assert sum(count_images(data)) == len(scan_folder(data, CLASSES))
    assert count_images(None) == (0, 0)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataUnusableError, match="no folder"):
        count_images(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_read_is_named(data):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (data / "ok").chmod(0)
    with pytest.raises(DataUnusableError, match="cannot be read"):
        count_images(data)


def test_the_whole_profile_fits_the_contract(data, tmp_path):
    survey = Survey(
        data=data, state=tmp_path, cache=tmp_path / "probe.json", operator_cap_bytes=256_000_000,
        agent_bytes=80_000_000, cap_kinds=("rss_watchdog",), ask=lambda _: None,
        run=lambda: ANSWER,
    )  # fmt: skip
    profile = take_profile(survey)

    assert (profile.n_ok, profile.n_defect) == (5, 5)
    assert profile.ram_total_bytes >= profile.ram_available_bytes > 0
    assert profile.cores >= 1
    assert profile.versions["a"] == "1"


@pytest.mark.parametrize(
    ("changes", "tell"),
    [
        ({}, False),
        ({"ram_available_bytes": 2_900_000_000}, False),
        ({"ram_available_bytes": 1_000_000_000}, True),
        ({"n_ok": 6}, True),
        ({"operator_cap_bytes": 1}, True),
    ],
)
def test_the_server_hears_of_what_matters(changes, tell):
    assert profile_changed(make_profile(), make_profile(**changes)) is tell
    assert profile_changed(None, make_profile())


def test_a_folder_of_images_that_cannot_be_used_leaves_a_profile(tmp_path):
    survey = Survey(
        data=tmp_path / "nowhere", state=tmp_path, cache=tmp_path / "probe.json",
        operator_cap_bytes=None, agent_bytes=80_000_000, cap_kinds=(), ask=lambda _: None,
        run=lambda: ANSWER,
    )  # fmt: skip

    assert (take_profile(survey).n_ok, take_profile(survey).n_defect) == (0, 0)


BOARDS = sorted((Path(__file__).parents[1] / "recorded" / "boards").glob("*/expected.json"))


def board_profile(folder, tmp_path):
    table = folder / "nvidia-smi.csv"
    survey = Survey(
        data=None, state=tmp_path, cache=tmp_path / "probe.json", operator_cap_bytes=None,
        agent_bytes=80_000_000, cap_kinds=(), root=folder, run=lambda: ANSWER,
        ask=lambda _: table.read_text() if table.exists() else None, nvml=lambda: None,
    )  # fmt: skip
    return take_profile(survey)


def test_there_are_boards_enough():
    assert len(BOARDS) >= 6


@pytest.mark.parametrize("expected", BOARDS, ids=lambda path: path.parent.name)
def test_a_recorded_board_is_described_as_it_is(expected, tmp_path):
    wanted = json.loads(expected.read_text())
    profile = board_profile(expected.parent, tmp_path).model_dump(mode="json")

    assert {name: profile[name] for name in wanted["profile"]} == wanted["profile"]


@pytest.mark.parametrize("expected", BOARDS, ids=lambda path: path.parent.name)
def test_a_recorded_board_agrees_with_its_makers_figures(expected, tmp_path):
    published = json.loads(expected.read_text())["published"]
    profile = board_profile(expected.parent, tmp_path)
    own_memory = [a.memory_bytes for a in profile.accelerators if a.memory_bytes is not None]

    assert published["source"]
    assert profile.cores == published["cores"]
    assert 0.85 * published["ram_bytes"] < profile.ram_total_bytes <= published["ram_bytes"]
    assert bool(own_memory) is ("gpu_bytes" in published)
    for memory_bytes in own_memory:
        assert abs(memory_bytes - published["gpu_bytes"]) < 0.05 * published["gpu_bytes"]
