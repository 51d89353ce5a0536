"""What this box is: memory, disk, processor, accelerators, runtime. Reads; never writes.

The slow part (imports and benchmark) runs in a short child (``machine.probe``) and is cached
by the versions that it depends on.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from contract.base import Message
from contract.device import DeviceProfile
from device_agent.disk.files import write_atomic
from device_agent.errors import AgentError, DataUnusableError
from device_agent.machine.accelerators import ask_program, find_accelerators
from device_agent.machine.nvidia import Ask, Nvml, ask_nvml
from device_agent.machine.processor import cpu_facts, memory_bytes, usable_cores
from device_agent.machine.sysfs import read
from device_agent.training.cgroup import cgroup_limit_bytes
from device_agent.training.children import quiet_environment

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CLASSES = ("ok", "defect")
_PACKAGES = ("numpy", "onnxruntime", "pillow")
_PROBE_VERSION = "1"
_PROBE_TIMEOUT_S = 120


class ProbeFailedError(AgentError):
    name = "probe_failed"


class Probed(Message):
    """What the measuring child said, and the versions under which it holds."""

    key: str
    runtime_floor_bytes: int
    benchmark_ms: float
    providers: tuple[str, ...]
    versions: dict[str, str]


def run_probe() -> dict[str, Any]:
    """Run the measuring child (about a second); raises ProbeFailedError."""
    command = [sys.executable, "-m", "device_agent.machine.probe"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
            env=quiet_environment(),
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        answer["runtime_floor_bytes"] = ask_floor() or answer["runtime_floor_bytes"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as exc:
        stderr = (getattr(exc, "stderr", b"") or b"").decode("utf-8", errors="replace")
        hint = stderr.strip().splitlines()[-1:] or [str(exc)]
        message = f"onnxruntime cannot be measured here: {hint[0][:300]}; reinstall the agent"
        raise ProbeFailedError(message) from exc
    return answer


def ask_floor() -> int | None:
    """Return the fine-tune program's own RSS after its imports; None where it does not tell."""
    command = [sys.executable, "-m", "models", "floor"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
            env=quiet_environment(),
        )
        floor_bytes = json.loads(done.stdout)["floor_bytes"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    return floor_bytes if isinstance(floor_bytes, int) and floor_bytes > 0 else None


def probe_key(cpu: str) -> str:
    """Name everything that a cached measurement depends on."""
    versions = [f"{name}={_version(name)}" for name in _PACKAGES]
    return " ".join((_PROBE_VERSION, platform.python_version(), cpu, *versions))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def probed(cache: Path, cpu: str, run: Callable[[], dict[str, Any]] = run_probe) -> Probed:
    """Return the measurements, from ``cache`` where they still hold."""
    key = probe_key(cpu)
    try:
        known = Probed.model_validate_json(cache.read_bytes())
        if known.key == key:
            return known
    except (OSError, ValueError):
        pass
    fresh = Probed.model_validate({"key": key, **run()})
    write_atomic(cache, fresh.model_dump_json().encode())
    return fresh


def count_images(data: Path | None) -> tuple[int, int]:
    """Return how many ok and defect images lie directly in ok/ and defect/ of ``data``.

    Folders inside those are not looked into, as in training. (0, 0) without a folder.

    Raises DataUnusableError when the folder cannot be read.
    """
    if data is None:
        return 0, 0
    try:
        if not data.is_dir():
            message = f"{data} is no folder; --data names a folder that holds ok/ and defect/"
            raise DataUnusableError(message)
        counts = [_count(data / name) for name in CLASSES]
    except PermissionError as exc:
        message = f"{exc.filename} cannot be read; let the agent's user read --data"
        raise DataUnusableError(message) from exc
    return counts[0], counts[1]


def _count(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(1 for path in folder.iterdir() if is_image(path.name) and path.is_file())


def is_image(name: str) -> bool:
    """Return whether a file name that the trainer would read."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a profile is taken of: folders, caps, and the seams that tests fill.

    ``root`` is where /proc and /sys are read, ``ask`` runs nvidia-smi, ``nvml`` asks its library,
    ``run`` is the measuring child.
    """

    data: Path | None
    state: Path
    cache: Path
    operator_cap_bytes: int | None
    agent_bytes: int
    cap_kinds: tuple[str, ...]
    root: Path = Path("/")
    ask: Ask = ask_program
    nvml: Nvml = ask_nvml
    run: Callable[[], dict[str, Any]] = run_probe


def take_profile(survey: Survey) -> DeviceProfile:
    """Return the box's profile now; raises ProbeFailedError, DiskFullError.

    A folder of images that cannot be used counts as one without images: the box still has much to
    say, to hear and to serve. Why it cannot be used is ``count_images``'s to say.
    """
    root = survey.root
    cpu, flags = cpu_facts(read(root / "proc/cpuinfo"), read(root / "proc/device-tree/model"))
    measured = probed(survey.cache, cpu, survey.run)
    ram_total_bytes, ram_available_bytes, swap_bytes = memory_bytes(root)
    try:
        n_ok, n_defect = count_images(survey.data)
    except DataUnusableError:
        n_ok, n_defect = 0, 0
    return DeviceProfile(
        cpu=cpu,
        cores=usable_cores(root),
        cpu_flags=flags,
        ram_total_bytes=ram_total_bytes,
        ram_available_bytes=ram_available_bytes,
        swap_bytes=swap_bytes,
        disk_free_bytes=shutil.disk_usage(survey.state).free,
        cgroup_limit_bytes=cgroup_limit_bytes(root),
        operator_cap_bytes=survey.operator_cap_bytes,
        agent_bytes=survey.agent_bytes,
        runtime_floor_bytes=measured.runtime_floor_bytes,
        benchmark_ms=measured.benchmark_ms,
        accelerators=find_accelerators(root, survey.ask, survey.nvml),
        providers=measured.providers,
        versions=measured.versions | _own_versions(),
        cap_kinds=survey.cap_kinds,
        n_ok=n_ok,
        n_defect=n_defect,
    )


def _own_versions() -> dict[str, str]:
    return {"kernel": platform.release()[:120], "agent": _version("paretofleet")}


_MATTERS_IF_MOVED = ("ram_available_bytes", "disk_free_bytes")
_MOVED = 0.2


def profile_changed(old: DeviceProfile | None, new: DeviceProfile) -> bool:
    """Return whether to tell the server: a fact changed, or free memory or disk by over 20 %."""
    if old is None:
        return True
    before, after = old.model_dump(), new.model_dump()
    for field in _MATTERS_IF_MOVED:
        was, now = before.pop(field), after.pop(field)
        if abs(was - now) > _MOVED * max(was, 1):
            return True
    return before != after
