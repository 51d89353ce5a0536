"""GPUs and NPUs of a box: nvidia-smi where it answers, /sys and /proc for the rest.

Nothing is loaded or initialised: a CUDA context alone would cost hundreds of megabytes.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from contract.device import Accelerator

NVIDIA_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,driver_version",
    "--format=csv,noheader,nounits",
)
_TIMEOUT_S = 5
_FIELDS = 3
_NPUS = {
    "sys/class/hailo_chardev": "Hailo",
    "sys/class/apex": "Coral Edge TPU",
    "sys/class/accel": "NPU",
}
Ask = Callable[[tuple[str, ...]], str | None]


def ask_program(command: tuple[str, ...]) -> str | None:
    """Return a program's output; None when it is absent, fails or takes over 5 s."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command found on PATH
            [program, *command[1:]], capture_output=True, timeout=_TIMEOUT_S, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def find_accelerators(root: Path = Path("/"), ask: Ask = ask_program) -> tuple[Accelerator, ...]:
    """Return what is there, at most 16."""
    found = [*_nvidia(ask(NVIDIA_QUERY)), *_jetson(root), *_npus(root)]
    return tuple(found[:16])


def _nvidia(table: str | None) -> list[Accelerator]:
    found = []
    for line in (table or "").splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != _FIELDS or not cells[0]:
            continue
        mebibytes = int(cells[1]) if cells[1].isdecimal() else None
        memory_bytes = None if mebibytes is None else mebibytes << 20
        found.append(
            Accelerator(
                kind="cuda",
                name=_clean(cells[0]),
                memory_bytes=memory_bytes,
                driver=_clean(cells[2]),
            )
        )
    return found


def _jetson(root: Path) -> list[Accelerator]:
    """Return a Jetson; it shares the processor's memory, so it states none of its own."""
    model = _read(root / "proc/device-tree/model")
    if "jetson" not in model.lower():
        return []
    release = re.search(r"R(\d+).*?REVISION: ([\d.]+)", _read(root / "etc/nv_tegra_release"))
    driver = f"L4T {release[1]}.{release[2]}" if release else None
    return [Accelerator(kind="jetson", name=_clean(model), memory_bytes=None, driver=driver)]


def _npus(root: Path) -> list[Accelerator]:
    return [
        Accelerator(kind="npu", name=name, memory_bytes=None, driver=None)
        for folder, name in _NPUS.items()
        if (root / folder).is_dir()
        for _ in (root / folder).iterdir()
    ]


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[:4096].decode("utf-8", errors="replace")
    except OSError:
        return ""


def _clean(text: str) -> str:
    printable = "".join(c for c in text if c.isprintable()).strip()
    return printable[:120] or "unknown"
