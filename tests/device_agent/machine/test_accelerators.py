"""Accelerators, from recorded answers."""

import sys

import pytest

from device_agent.machine.accelerators import ask_program, find_accelerators
from device_agent.machine.nvidia import NVIDIA_QUERY

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


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_jetson_is_not_reported_a_second_time_as_a_card(tmp_path):
    put(tmp_path, "proc/device-tree/compatible", "nvidia,p3768\0nvidia,tegra234\0")

    found = find_accelerators(tmp_path, lambda _: "Orin (nvgpu), [N/A], 540.4.0\n")

    assert [a.kind for a in found] == ["jetson"]


@pytest.mark.parametrize(
    ("driver", "name"), [("intel_vpu", "Intel NPU"), ("amdxdna", "AMD XDNA NPU"), ("new", "NPU")]
)
def test_an_npu_of_the_kernels_own_class_is_named_by_its_driver(tmp_path, driver, name):
    put(tmp_path, "sys/class/accel/accel0/device/uevent", f"DRIVER={driver}\n")

    (npu,) = find_accelerators(tmp_path, silent)
    assert (npu.kind, npu.name, npu.driver) == ("npu", name, driver)


def test_a_discrete_amd_card_states_its_own_memory(tmp_path):
    node = "sys/class/kfd/kfd/topology/nodes/1"
    put(tmp_path, f"{node}/properties", "simd_count 64\ngfx_target_version 90012\n"
        "drm_render_minor 128\n")  # fmt: skip
    put(tmp_path, f"{node}/name", "renoir\n")
    put(tmp_path, f"{node}/mem_banks/0/properties", "heap_type 1\nsize_in_bytes 8573157376\n")
    put(tmp_path, "sys/class/drm/renderD128/device/uevent", "DRIVER=amdgpu\nPCI_ID=1002:1638\n")
    put(tmp_path, "sys/class/kfd/kfd/topology/nodes/0/properties", "simd_count 0\n")

    (card,) = find_accelerators(tmp_path, silent)
    assert (card.kind, card.name) == ("rocm", "AMD renoir gfx90c")
    assert card.memory_bytes == 8573157376


def test_a_card_without_a_driver_is_there_but_has_none(tmp_path):
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    put(tmp_path, "sys/bus/pci/devices/0000:01:00.0/uevent", "PCI_ID=10DE:1EB8\n")
    put(tmp_path, "sys/bus/pci/devices/0000:02:00.0/class", "0x020000\n")
    put(tmp_path, "sys/bus/pci/devices/0000:02:00.0/uevent", "PCI_ID=8086:125C\n")

    (card,) = find_accelerators(tmp_path, silent)
    assert (card.name, card.driver, card.memory_bytes) == ("NVIDIA GPU 10de:1eb8", None, None)


def test_sticks_and_small_npus_are_found(tmp_path):
    put(tmp_path, "sys/bus/usb/devices/1-1/idVendor", "18d1\n")
    put(tmp_path, "sys/bus/usb/devices/1-1/idProduct", "9302\n")
    put(tmp_path, "sys/class/apex/apex_0/uevent", "")
    put(tmp_path, "sys/class/misc/fastrpc-cdsp/uevent", "")
    put(tmp_path, "sys/bus/platform/drivers/etnaviv-gpu/38500000.npu/uevent", "")

    assert {a.name for a in find_accelerators(tmp_path, silent)} == {
        "Coral Edge TPU (USB)", "Coral Edge TPU", "Qualcomm Hexagon (cdsp)", "VeriSilicon NPU",
    }  # fmt: skip


def test_an_npu_that_the_device_tree_switches_off_is_not_there(tmp_path):
    put(tmp_path, "sys/class/misc/galcore/uevent", "")
    put(tmp_path, "proc/device-tree/vipsi@38500000/status", "disabled\0")

    assert find_accelerators(tmp_path, silent) == ()


def test_no_more_than_the_contract_holds_are_reported(tmp_path):
    for number in range(40):
        put(tmp_path, f"sys/class/accel/accel{number}/device/uevent", "DRIVER=qaic\n")

    assert len(find_accelerators(tmp_path, silent)) == 16


def test_drivers_of_no_hardware_are_no_gpu(tmp_path):
    put(tmp_path, "sys/class/drm/renderD128/device/uevent", "DRIVER=vgem\n")

    assert find_accelerators(tmp_path, silent) == ()
