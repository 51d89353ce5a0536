"""Memory limits of control groups, version 1 and 2: read them, and make a sub-group for a child.

Everything is read below ``root`` (``/`` on a box, a folder of recorded files in a test). A
sub-group is only ever made beneath the agent's own group, so outer limits go on holding.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

AGENT_LEAF = "agent-itself"
_V1_UNLIMITED = 1 << 60
_REMOVE_TRIES = 50
_REMOVE_PAUSE_S = 0.01


@dataclass(frozen=True)
class MemoryGroup:
    """The folder of this process's memory controller. ``mount`` is where the hierarchy starts."""

    version: int
    mount: Path
    folder: Path

    @property
    def limit_file(self) -> str:
        return "memory.max" if self.version == 2 else "memory.limit_in_bytes"  # noqa: PLR2004 - a version


def memory_groups(root: Path = Path("/")) -> list[MemoryGroup]:
    """Return the memory controllers that govern this process, version 2 first."""
    groups = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            groups.append(_group(1, root / "sys/fs/cgroup/memory", path))
        elif number == "0" and not controllers:
            groups += [_group(2, mount, path) for mount in _v2_mounts(root)]
    return sorted((g for g in groups if g is not None), key=lambda group: -group.version)


def cgroup_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the tightest limit from the own group up to the root; None when there is none."""
    limits = []
    for group in memory_groups(root):
        for folder in (group.folder, *group.folder.parents):
            limits += _limit(folder / group.limit_file)
            if folder == group.mount:
                break
    return min(limits, default=None)


def _v2_mounts(root: Path) -> list[Path]:
    candidates = (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified")
    return [mount for mount in candidates if (mount / "cgroup.controllers").is_file()][:1]


def _group(version: int, mount: Path, path: str) -> MemoryGroup | None:
    """In a container the path may name the host's tree: then the mount itself is our group.

    The group of an agent that has moved into its leaf is the one that holds the leaf.
    """
    if not mount.is_dir():
        return None
    folder = mount / path.strip().lstrip("/")
    inside = folder.is_dir() and ".." not in folder.parts
    folder = folder.parent if folder.name == AGENT_LEAF else folder
    return MemoryGroup(version, mount, folder if inside else mount)


def _limit(path: Path) -> list[int]:
    text = "".join(_lines(path)).strip()
    if not text.isdecimal() or int(text) >= _V1_UNLIMITED:
        return []
    return [int(text)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


@dataclass(frozen=True)
class CapGroup:
    """A sub-group with a limit, made for one child and removed after it."""

    version: int
    folder: Path

    @property
    def procs(self) -> Path:
        return self.folder / "cgroup.procs"

    def killed_for_memory(self) -> bool:
        """Return whether the kernel ended a process of the group at the group's own limit.

        It ends one as well when an outer group or the whole box is out of memory: no fault of ours.
        """
        counts = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._count(counts, "oom_kill") > 0 and self._at_its_limit()

    def _at_its_limit(self) -> bool:
        """Return whether the group itself was ever full.

        Version 1 counts that in ``memory.failcnt``, which newer kernels (seen: 6.18) leave at 0; so
        a high-water mark that stands at the limit says it too.
        """
        if self.version != 1:
            return self._count("memory.events", "oom") > 0
        limit_bytes = self._number("memory.limit_in_bytes")
        full = limit_bytes > 0 and self._number("memory.max_usage_in_bytes") >= limit_bytes
        return full or self._number("memory.failcnt") > 0

    def _number(self, file: str) -> int:
        text = "".join(_lines(self.folder / file)).strip()
        return int(text) if text.isdecimal() else 0

    def _count(self, file: str, name: str) -> int:
        for line in _lines(self.folder / file):
            word, _, value = line.partition(" ")
            if word == name and value.strip().isdecimal():
                return int(value)
        return 0

    def kill(self) -> None:
        """End every process in the group, wherever it has put itself."""
        for line in _lines(self.procs):
            if line.isdecimal():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(line), signal.SIGKILL)

    def remove(self) -> None:
        """Remove the group once its last process has gone; give up quietly when none will."""
        for _ in range(_REMOVE_TRIES):
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(_REMOVE_PAUSE_S)
            else:
                return


def make_cap_group(limit_bytes: int, name: str, root: Path = Path("/")) -> CapGroup | None:
    """Make a sub-group limited to ``limit_bytes``, or return None where nothing is writable."""
    for group in memory_groups(root):
        made = _try_group(group, limit_bytes, name)
        if made is not None:
            return made
    return None


def _try_group(group: MemoryGroup, limit_bytes: int, name: str) -> CapGroup | None:
    folder = group.folder / name
    limit = folder / group.limit_file
    try:
        folder.mkdir(exist_ok=True)
        limit.write_text(str(limit_bytes), encoding="ascii")
        _forbid_swap(group, folder, limit_bytes)
        _end_together(folder)
        writable = bool(_limit(limit)) and os.access(folder / "cgroup.procs", os.W_OK)
    except OSError:
        writable = False
    if not writable:
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None
    return CapGroup(group.version, folder)


def _forbid_swap(group: MemoryGroup, folder: Path, limit_bytes: int) -> None:
    """Bound swap too, where the kernel offers it: else the child swaps past its cap."""
    swap, value = (
        ("memory.memsw.limit_in_bytes", limit_bytes)
        if group.version == 1
        else ("memory.swap.max", 0)
    )
    with contextlib.suppress(OSError):
        if (folder / swap).exists():
            (folder / swap).write_text(str(value), encoding="ascii")


def _end_together(folder: Path) -> None:
    """Have the kernel end all of the group at its limit (version 2): a half is of no use."""
    together = folder / "memory.oom.group"
    with contextlib.suppress(OSError):
        if together.exists():
            together.write_text("1", encoding="ascii")


def sweep_cap_groups(prefix: str, root: Path = Path("/")) -> None:
    """Remove the empty sub-groups of agents that are no more (names are ``<prefix><pid>-...``)."""
    for group in memory_groups(root):
        for folder in group.folder.glob(f"{prefix}*"):
            pid = folder.name.removeprefix(prefix).split("-")[0]
            if not (root / "proc" / pid).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
