"""What a box says of itself."""

import os

import pytest

from device_agent.errors import DataUnusableError
from device_agent.profile import (
    CLASSES,
    ProbeFailedError,
    Survey,
    count_images,
    cpu_facts,
    probed,
    profile_changed,
    run_probe,
    take_profile,
)
from models.data.folder import scan_folder
from tests.device_agent.conftest import make_profile

X86 = "processor: 0\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu avx avx2 fma lm\n"
ARM = "processor: 0\nFeatures\t: fp asimd asimddp crc32\nModel\t\t: Raspberry Pi 5\n"
ANSWER = {
    "runtime_floor_bytes": 5,
    "benchmark_ms": 1.0,
    "providers": ["CPU"],
    "versions": {"a": "1"},
}


def test_reads_x86_and_arm_processors():
    assert cpu_facts(X86) == ("Intel(R) Core(TM) i5", ("avx", "avx2", "fma"))
    assert cpu_facts(ARM)[1] == ("asimd", "asimddp")
    assert cpu_facts("")[1] == ()


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
    monkeypatch.setattr("device_agent.profile.sys.executable", "/bin/false")

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
