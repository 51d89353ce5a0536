"""What the processor is, from /proc: its name, the flags that matter, usable cores, memory.

ARM kernels print no name, only who made a core and which part it is; the names of parts are ARM's
own, as in the Main ID Register's description of each core's reference manual. A part that is not
in the table is given as its number.
"""

import os
import platform
import re
from collections import Counter
from pathlib import Path

import psutil

from device_agent.machine.sysfs import clean, read

_FLAGS = {
    "amx_bf16", "amx_int8", "amx_tile", "asimd", "asimddp", "asimdhp", "avx", "avx2", "avx512_bf16",
    "avx512_fp16", "avx512_vnni", "avx512f", "avx_vnni", "bf16", "f16c", "fma", "i8mm", "neon",
    "sse4_2", "sve", "sve2",
}  # fmt: skip
_PARTS = {
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xc09"): "Cortex-A9",
    ("0x41", "0xc0f"): "Cortex-A15",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd4b"): "Cortex-A78C",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
}
_NAMELESS = re.compile(r"^(ARMv[78] Processor rev|AArch64 Processor rev|$)")


def cpu_facts(text: str, board: str = "") -> tuple[str, tuple[str, ...]]:
    """Return the name and the flags of interest from the text of /proc/cpuinfo (x86 or ARM).

    ``board`` is the device tree's model. Only flags that every core has are named.
    """
    given = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    if given and not _NAMELESS.match(given[1].strip()):
        return clean(given[1]), _flags(text)
    line = re.search(r"^(?:Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    model = board.strip("\0 \n") or (line[1].strip() if line else "")
    return clean(_named(model, _cores(text))), _flags(text)


def _named(model: str, cores: str) -> str:
    if model and cores:
        return f"{model} ({cores})"
    return model or cores or platform.machine()


def _cores(text: str) -> str:
    """Return such as ``4 x Cortex-A55, 4 x Cortex-A76``; empty where no part is named."""
    makers = re.findall(r"^CPU implementer\s*:\s*(\S+)", text, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(\S+)", text, re.MULTILINE)
    pairs = zip(makers, parts, strict=False)
    counts = Counter(_PARTS.get(pair, f"part {pair[0]}/{pair[1]}") for pair in pairs)
    return ", ".join(f"{n} x {name}" for name, n in counts.items())


def _flags(text: str) -> tuple[str, ...]:
    lines = re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    everywhere = set.intersection(*(set(line.split()) for line in lines)) if lines else set()
    return tuple(sorted(everywhere & _FLAGS))


def usable_cores(root: Path = Path("/")) -> int:
    """Return the processors that this process may run on."""
    status = read(root / "proc/self/status")
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    counted = count_list(allowed[1]) if allowed else 0
    return counted or len(os.sched_getaffinity(0))


def count_list(text: str) -> int:
    """Return how many numbers a list such as ``0-3,6`` names; 0 where it makes no sense."""
    total = 0
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return 0
        total += max(0, int(last or first) - int(first) + 1)
    return total


def memory_bytes(root: Path = Path("/")) -> tuple[int, int, int]:
    """Return total and available memory, and swap; psutil knows where /proc/meminfo does not."""
    found = dict(re.findall(r"^(\w+):\s*(\d+) kB$", read(root / "proc/meminfo"), re.MULTILINE))
    try:
        total, available, swap = (
            int(found[key]) * 1024 for key in ("MemTotal", "MemAvailable", "SwapTotal")
        )
    except KeyError:
        memory = psutil.virtual_memory()
        return memory.total, memory.available, psutil.swap_memory().total
    return total, available, swap
