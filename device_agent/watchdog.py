"""Watches one child's memory about 50 times a second and ends it when it passes its cap.

A thread of its own: a blocked terminal or a slow disk must not stop it. It reads the kernel's
high-water mark, so a peak between two looks is seen too.
"""

import contextlib
import os
import signal
import threading
from pathlib import Path

INTERVAL_S = 0.02


class Watchdog:
    """``peak_bytes`` is the largest RSS seen, ``anonymous_bytes`` the largest anonymous part."""

    def __init__(self, pid: int, cap_bytes: int | None, proc: Path = Path("/proc")) -> None:
        self.peak_bytes = 0
        self.anonymous_bytes = 0
        self.breached = False
        self._pid = pid
        self._cap_bytes = cap_bytes
        self._status = proc / str(pid) / "status"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rss-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns once the thread has ended."""
        self._done.set()
        self._thread.join()

    def look(self) -> bool:
        """Look once; True while the child lives and keeps under its cap."""
        memory = read_memory(self._status)
        if memory is None:
            return False
        peak_bytes, anonymous_bytes = memory
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        self.anonymous_bytes = max(self.anonymous_bytes, anonymous_bytes)
        self.breached = self._cap_bytes is not None and self.peak_bytes > self._cap_bytes
        return not self.breached

    def _watch(self) -> None:
        while not self._done.is_set():
            alive = self.look()
            if self.breached:
                kill_group(self._pid, signal.SIGKILL)
                return
            if not alive:
                return
            self._done.wait(INTERVAL_S)


def read_memory(status: Path) -> tuple[int, int] | None:
    """Return high-water RSS and anonymous RSS in bytes; None once the process is gone."""
    try:
        text = status.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith(("VmHWM:", "RssAnon:"))
    }
    return (found["VmHWM"], found.get("RssAnon", 0)) if "VmHWM" in found else None


def kill_group(pid: int, number: int) -> None:
    """Signal the child's whole process group (it leads its own); quiet when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
