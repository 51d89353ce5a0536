"""NVIDIA GPUs of a PC: by NVML, else by nvidia-smi, else by what the kernel driver says in /proc.

NVML is called through ctypes: seven functions of a stable C interface. The package nvidia-ml-py
would be one more dependency and a third of a megabyte of source for the same seven calls. NVML
makes no CUDA context, which alone would cost hundreds of megabytes. The library is opened only
where the kernel driver is loaded, and a good answer is kept until the driver or the set of cards
changes, so that a poll costs a look at two files.

Sources: NVML API Reference Guide (docs.nvidia.com/deploy/nvml-api), nvidia-smi(1), and
"/proc interface" in the driver's README.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from contract.device import Accelerator
from device_agent.machine.sysfs import clean, listed, read

NVIDIA_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,driver_version",
    "--format=csv,noheader,nounits",
)
LIBRARY = "libnvidia-ml.so.1"
_FIELDS = 3
_NAME_BYTES = 96
_MOST_CARDS = 16
Ask = Callable[[tuple[str, ...]], str | None]
Nvml = Callable[[], list[Accelerator] | None]


def nvidia_gpus(root: Path, ask: Ask, nvml: Nvml) -> list[Accelerator]:
    """Return the cards that the driver drives; none where it is not loaded.

    nvidia-smi alone is believed without the kernel's word: in some containers it is all there is.
    """
    loaded = _loaded_driver(root)
    if loaded is None:
        return from_table(ask(NVIDIA_QUERY))
    try:
        return list(_asked_once(loaded, ask, nvml))
    except LookupError:
        return from_proc(root)


def _loaded_driver(root: Path) -> str | None:
    """Name the loaded driver and its cards; None where no driver is loaded."""
    version = read(root / "proc/driver/nvidia/version")
    if not version and not (root / "dev/nvidiactl").exists():
        return None
    cards = [path.name for path in listed(root / "proc/driver/nvidia/gpus")]
    return " ".join((version, *cards))


@lru_cache(maxsize=4)
def _asked_once(loaded: str, ask: Ask, nvml: Nvml) -> tuple[Accelerator, ...]:  # noqa: ARG001 - the key
    """Ask NVML, then nvidia-smi. LookupError, which no cache keeps, where neither answers."""
    found = nvml() or from_table(ask(NVIDIA_QUERY))
    if not found:
        raise LookupError
    return tuple(found)


def from_table(table: str | None) -> list[Accelerator]:
    """Return the cards of nvidia-smi's answer; a line that is not understood is none."""
    found = []
    for line in (table or "").splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != _FIELDS or not cells[0]:
            continue
        mebibytes = int(cells[1]) if cells[1].isdecimal() else None
        memory_bytes = None if mebibytes is None else mebibytes << 20
        found.append(_card(cells[0], memory_bytes, cells[2]))
    return found


def from_proc(root: Path) -> list[Accelerator]:
    """Return the cards that the kernel driver lists; it says nothing of their memory."""
    version = re.search(r"Kernel Module[^\d\n]*([\d.]+)", read(root / "proc/driver/nvidia/version"))
    found = []
    for folder in listed(root / "proc/driver/nvidia/gpus"):
        model = re.search(r"^Model:\s*(.+)$", read(folder / "information"), re.MULTILINE)
        found.append(_card(model[1] if model else "", None, version[1] if version else None))
    return found


def _card(name: str, memory_bytes: int | None, driver: str | None) -> Accelerator:
    known = None if driver is None else clean(driver)
    return Accelerator(kind="cuda", name=clean(name), memory_bytes=memory_bytes, driver=known)


def ask_nvml(load: Callable[[str], Any] | None = None) -> list[Accelerator] | None:
    """Return the cards that NVML names; None where it is absent or does not work."""
    import ctypes  # noqa: PLC0415 - only a box with the driver pays for it

    try:
        library = (load or ctypes.CDLL)(LIBRARY)
        if library.nvmlInit_v2() != 0:
            return None
    except (OSError, AttributeError):
        return None
    try:
        return _cards(library)
    except AttributeError:
        return None
    finally:
        library.nvmlShutdown()


def _cards(library: Any) -> list[Accelerator] | None:  # noqa: ANN401 - a C library
    from ctypes import byref, c_uint, c_void_p  # noqa: PLC0415 - only a box with the driver

    count = c_uint()
    if library.nvmlDeviceGetCount_v2(byref(count)) != 0:
        return None
    driver = _text(library.nvmlSystemGetDriverVersion)
    found = []
    for number in range(min(count.value, _MOST_CARDS)):
        handle = c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(number, byref(handle)) != 0:
            continue
        name = _text(lambda buffer, size, h=handle: library.nvmlDeviceGetName(h, buffer, size))
        found.append(_card(name or "", _memory_bytes(library, handle), driver))
    return found


def _text(call: Callable[..., int]) -> str | None:
    from ctypes import c_uint, create_string_buffer  # noqa: PLC0415 - only a box with the driver

    buffer = create_string_buffer(_NAME_BYTES)
    if call(buffer, c_uint(_NAME_BYTES)) != 0:
        return None
    return buffer.value.decode("utf-8", errors="replace")


def _memory_bytes(library: Any, handle: Any) -> int | None:  # noqa: ANN401 - a C library
    """Return the card's memory; None where it has none of its own or does not say."""
    from ctypes import byref, c_ulonglong  # noqa: PLC0415 - only a box with the driver

    memory = (c_ulonglong * 3)()  # nvmlMemory_t: total, free, used
    if library.nvmlDeviceGetMemoryInfo(handle, byref(memory)) != 0:
        return None
    return int(memory[0])
