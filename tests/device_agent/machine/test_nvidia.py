"""NVIDIA's cards: the library, then its program, then the kernel driver's own words."""

import ctypes
import shutil
import subprocess

import pytest

from device_agent.machine.nvidia import NVIDIA_QUERY, ask_nvml, from_proc, from_table, nvidia_gpus
from tests.device_agent.machine.test_accelerators import TWO_GPUS, silent

STUB = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    strncpy(text, "570.86.15", size); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **card) {
    *card = (void *)(long)(i + 1); return i == 2 ? 15 : 0; }
int nvmlDeviceGetName(void *card, char *text, unsigned size) {
    strncpy(text, (long)card == 1 ? "NVIDIA RTX A2000" : "NVIDIA Thor", size); return 0; }
int nvmlDeviceGetMemoryInfo(void *card, nvmlMemory_t *memory) {
    if ((long)card == 2) return 3;
    memory->total = 6138ull << 20; memory->free = 1; memory->used = 2; return 0; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Compile a stand-in with NVML's own C interface."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "stub.c").write_text(STUB)
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "stub.so"), str(folder / "stub.c")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "stub.so"


class Broken:
    """Stands for a library that loads and does not work."""

    def __init__(self, code):
        self.code = code

    def nvmlInit_v2(self):  # noqa: N802 - NVML's name
        return self.code


def driver(root, version="NVRM version: NVIDIA UNIX Kernel Module  535.183.01  Sun\n"):
    folder = root / "proc/driver/nvidia/gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(version)
    (folder / "information").write_text("Model: \t\t Tesla T4\nIRQ: 5\n")
    return root


def test_the_library_is_called_as_c_wants_it(library):
    first, second = ask_nvml(lambda _: ctypes.CDLL(str(library)))

    assert (first.name, first.memory_bytes) == ("NVIDIA RTX A2000", 6138 << 20)
    assert (second.name, second.memory_bytes) == ("NVIDIA Thor", None)
    assert first.driver == second.driver == "570.86.15"


def test_a_library_that_is_absent_old_or_broken_says_nothing():
    def absent(_):
        raise OSError

    assert ask_nvml(absent) is None
    assert ask_nvml(lambda _: object()) is None
    assert ask_nvml(lambda _: Broken(999)) is None


def test_without_the_driver_the_library_is_not_even_opened(tmp_path):
    assert nvidia_gpus(tmp_path, silent, lambda: pytest.fail("opened")) == []


def test_the_library_goes_before_the_program(tmp_path):
    (card,) = from_table("NVIDIA L4, 23034, 550.1\n")

    assert nvidia_gpus(driver(tmp_path), lambda _: TWO_GPUS, lambda: [card]) == [card]


def test_the_program_answers_where_the_library_does_not(tmp_path):
    found = nvidia_gpus(
        driver(tmp_path), lambda q: TWO_GPUS if q == NVIDIA_QUERY else None, lambda: None
    )

    assert [card.memory_bytes for card in found] == [81559 << 20, 12288 << 20]


def test_the_kernel_driver_is_believed_last(tmp_path):
    (card,) = nvidia_gpus(driver(tmp_path), silent, lambda: None)

    assert (card.name, card.memory_bytes, card.driver) == ("Tesla T4", None, "535.183.01")
    assert from_proc(tmp_path / "nowhere") == []


def test_a_good_answer_is_kept_until_the_driver_changes(tmp_path):
    asked = []

    def nvml():
        asked.append(1)
        return from_table("NVIDIA L4, 23034, 550.1\n")

    root = driver(tmp_path)
    for _ in range(3):
        assert len(nvidia_gpus(root, silent, nvml)) == 1
    assert len(asked) == 1
    (root / "proc/driver/nvidia/version").write_text("NVRM version: Kernel Module  550.2\n")
    nvidia_gpus(root, silent, nvml)
    assert len(asked) == 2


def test_no_answer_is_asked_for_again(tmp_path):
    asked = []

    def nvml():
        asked.append(1)

    root = driver(tmp_path)
    for _ in range(2):
        nvidia_gpus(root, silent, nvml)
    assert len(asked) == 2
