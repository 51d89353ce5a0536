"""A child and all that it has started, found through /proc, and what they occupy together.

Newcomers are those between the kernel's last process number and the one of the look before, so a
look costs a few reads whatever else runs on the box. Who belongs is told by session, group or
parent; a descendant that has left all three between two looks is found by a control group alone.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MOST_NEW = 4_096
_PROCESS_MRELEASE = 448
URGENT = -15
_KIB = 1024
# Fields of /proc/<pid>/stat (man 5 proc), counted from behind the name in brackets.
_STATE, _PARENT, _GROUP, _SESSION, _STARTED = 0, 1, 2, 3, 19


@dataclass(frozen=True)
class Kin:
    """A process, named for good by its number and its start."""

    pid: int
    started: str
    parent: int
    group: int
    session: int


class Family:
    """The descendants of ``leader``, who leads a session and a group of its own."""

    def __init__(self, leader: int, proc: Path = Path("/proc")) -> None:
        self.leader = leader
        self._proc = proc
        self._last_pid = leader
        self._known: dict[int, str] = {}

    def others(self) -> list[Kin]:
        """Return the living descendants; reads only what is new and what is known."""
        for pid in self._newcomers():
            kin = read_kin(self._proc, pid)
            if kin is not None and self._belongs(kin) and self._is_whole_process(pid):
                self._known[pid] = kin.started
        found = (read_kin(self._proc, pid) for pid in list(self._known))
        living = [k for k in found if k is not None and self._known[k.pid] == k.started]
        self._known = {kin.pid: kin.started for kin in living}
        return living

    def anonymous_bytes(self, members: Iterable[Kin]) -> int:
        """Return what ``members`` hold for themselves; what a fork shares counts for each."""
        return sum(read_anonymous(self._proc, kin.pid) for kin in members)

    def kill(self) -> None:
        """End the group and every descendant, those that have left it too, and free their memory.

        A killed process keeps its memory until it is next given the processor, which takes a while
        on a busy box: so it comes first now, and the kernel is asked to take the memory at once.
        """
        pids = [self.leader, *(kin.pid for kin in self.others())]
        kill_group(self.leader, signal.SIGKILL)
        self.kill_others()
        for pid in pids:
            come_first(self._proc, pid)
        for pid in sorted(pids, key=lambda p: -read_anonymous(self._proc, p)):
            release_memory(pid)

    def kill_others(self) -> None:
        """End what is left when the leader has been reaped: its number may be another's by now."""
        for kin in self.others():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(kin.pid, signal.SIGKILL)

    def _belongs(self, kin: Kin) -> bool:
        mine = {self.leader, *self._known}
        return kin.pid != self.leader and (
            kin.parent in mine or self.leader in {kin.session, kin.group}
        )

    def _newcomers(self) -> Iterable[int]:
        last, self._last_pid = self._last_pid, self._newest() or self._last_pid
        if 0 <= self._last_pid - last <= _MOST_NEW:
            return range(last + 1, self._last_pid + 1)
        return [int(name) for name in os.listdir(self._proc) if name.isdecimal()]  # noqa: PTH208

    def _newest(self) -> int | None:
        """Return the last process number given out, threads included."""
        fields = _read(self._proc / "loadavg").split()
        return int(fields[-1]) if fields and fields[-1].isdecimal() else None

    def _is_whole_process(self, pid: int) -> bool:
        """Tell a process from a thread, whose memory is its process's."""
        for line in _read(self._proc / str(pid) / "status").splitlines():
            if line.startswith("Tgid:"):
                return line.split()[1] == str(pid)
        return False


def read_kin(proc: Path, pid: int) -> Kin | None:
    """Return the facts about a process; None once it is gone or only waits to be reaped."""
    fields = _read(proc / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) <= _STARTED or fields[_STATE] in {"Z", "X"}:
        return None
    return Kin(
        pid=pid,
        started=fields[_STARTED],
        parent=int(fields[_PARENT]),
        group=int(fields[_GROUP]),
        session=int(fields[_SESSION]),
    )


def read_anonymous(proc: Path, pid: int) -> int:
    """Return the anonymous part of a process's RSS; 0 once it is gone. Takes no lock of its."""
    for line in _read(proc / str(pid) / "status").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * _KIB
    return 0


def kill_group(pid: int, number: int) -> None:
    """Signal the child's whole process group (it leads its own); quiet when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def come_first(proc: Path, pid: int) -> None:
    """Have a process's threads wake before others, where the box lets us (root, RLIMIT_NICE)."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(proc / str(pid) / "task"):  # noqa: PTH208 - names are wanted
            os.setpriority(os.PRIO_PROCESS, int(thread), URGENT)


def release_memory(pid: int) -> None:
    """Free the memory of a process that was killed (man 2 process_mrelease, Linux 5.15)."""
    import ctypes  # noqa: PLC0415 - only after a breach

    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            ctypes.CDLL(None).syscall(_PROCESS_MRELEASE, descriptor, 0)
        finally:
            os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
