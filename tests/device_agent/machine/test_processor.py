"""The processor's name, flags, cores and memory, from text."""

import os

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.machine.processor import count_list, cpu_facts, memory_bytes, usable_cores

X86 = "processor: 0\nmodel name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu avx avx2 fma lm\n"
ARM = "processor: 0\nFeatures\t: fp asimd asimddp crc32\nModel\t\t: Raspberry Pi 5\n"
PART = "Features\t: asimd\nCPU implementer\t: {}\nCPU part\t: {}\n"


def test_reads_x86_and_arm_processors():
    assert cpu_facts(X86) == ("Intel(R) Core(TM) i5", ("avx", "avx2", "fma"))
    assert cpu_facts(ARM) == ("Raspberry Pi 5", ("asimd", "asimddp"))
    assert cpu_facts("")[1] == ()
    assert cpu_facts("")[0]


def test_an_arm_box_is_named_by_its_board_and_cores():
    text = PART.format("0x41", "0xd0b") * 2

    assert cpu_facts(text, "Some Board\0")[0] == "Some Board (2 x Cortex-A76)"
    assert cpu_facts(text)[0] == "2 x Cortex-A76"


def test_a_core_that_is_not_known_is_given_as_its_number():
    assert cpu_facts(PART.format("0x99", "0x123"))[0] == "1 x part 0x99/0x123"


def test_only_what_every_core_has_is_named():
    text = X86 + "processor: 1\nflags\t\t: fpu avx\n"

    assert cpu_facts(text)[1] == ("avx",)


@settings(deadline=None)
@given(text=st.text(max_size=300), board=st.text(max_size=40))
def test_any_text_gives_a_name_that_the_contract_takes(text, board):
    name, flags = cpu_facts(text, board)

    assert 1 <= len(name) <= 120
    assert name.isprintable()
    assert list(flags) == sorted(set(flags))


@pytest.mark.parametrize(
    ("text", "n"), [("0-3", 4), ("0", 1), ("0-1,4,6-7", 5), ("", 0), ("a-b", 0), ("3-", 1)]
)
def test_lists_of_cores_are_counted(text, n):
    assert count_list(text) == n


def test_this_machine_is_read_as_python_reads_it():
    assert usable_cores() == len(os.sched_getaffinity(0))
    assert memory_bytes()[0] == psutil.virtual_memory().total
    assert memory_bytes()[2] == psutil.swap_memory().total


def test_without_proc_the_library_is_asked(tmp_path):
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert memory_bytes(tmp_path)[0] == psutil.virtual_memory().total
