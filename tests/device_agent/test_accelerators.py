"""Accelerators, from recorded answers."""

import sys

import pytest

from device_agent.accelerators import NVIDIA_QUERY, ask_program, find_accelerators

TWO_GPUS = "NVIDIA H100 80GB HBM3, 81559, 570.86.15\nNVIDIA GeForce RTX 3060, 12288, 570.86.15\n"


def silent(_):
    return None


def test_nvidia_smi_is_understood(tmp_path):
    first, second = find_accelerators(
        tmp_path, lambda command: TWO_GPUS if command == NVIDIA_QUERY else None
    )

    assert first.kind == "cuda"
    assert first.name == "NVIDIA H100 80GB HBM3"
    assert first.memory_bytes == 81559 << 20
    assert second.driver == "570.86.15"


@pytest.mark.parametrize(
    "answer", ["", "garbage", "a, b", "Orin (nvgpu), [N/A], 540.4.0\n", "\n\n,,\n"]
)
def test_odd_answers_are_no_crash(tmp_path, answer):
    found = find_accelerators(tmp_path, lambda _: answer)

    assert all(accelerator.memory_bytes is None for accelerator in found)


def test_a_jetson_is_recognised(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Nano Developer Kit\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R32 (release), REVISION: 7.1, GCID: 29818004\n"
    )

    (jetson,) = find_accelerators(tmp_path, silent)
    assert jetson.kind == "jetson"
    assert jetson.name == "NVIDIA Jetson Nano Developer Kit"
    assert jetson.driver == "L4T 32.7.1"
    assert jetson.memory_bytes is None


def test_an_npu_is_recognised(tmp_path):
    (tmp_path / "sys/class/hailo_chardev/hailo0").mkdir(parents=True)

    assert [a.name for a in find_accelerators(tmp_path, silent)] == ["Hailo"]


def test_nothing_is_nothing(tmp_path):
    assert find_accelerators(tmp_path, silent) == ()


def test_a_program_that_is_absent_or_fails_says_nothing():
    assert ask_program(("no-such-program-here",)) is None
    assert ask_program((sys.executable, "-c", "import sys; sys.exit(3)")) is None
    assert ask_program((sys.executable, "-c", "print(1)")) == "1\n"
