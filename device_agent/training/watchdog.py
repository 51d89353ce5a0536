"""Watches a child's memory, and that of all it started, and ends them when they pass its cap.

A thread of its own: a blocked terminal or a slow disk must not stop it. It reads the kernel's
high-water mark, so a peak of the child between two looks is seen too. The nearer the cap, the
sooner it looks again: at the speed at which memory can be filled, the cap is never far behind.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.training.family import URGENT, Family

INTERVAL_S = 0.02
SHORTEST_S = 0.004
# What one core can fill with zeroes, and more than a trainer was ever seen to.
_FASTEST_BYTES_A_SECOND = 4_000_000_000


@dataclass(frozen=True)
class Occupied:
    """Bytes of one process: high-water RSS, RSS now, and its anonymous part."""

    peak_bytes: int
    rss_bytes: int
    anonymous_bytes: int


def _nothing() -> None:
    return


class Watchdog:
    """Watches one child; ``peak_bytes`` is the largest RSS seen of it and all that it started.

    ``anonymous_bytes`` is the child's own largest anonymous part. ``end_group`` ends what only a
    control group can find.
    """

    def __init__(
        self,
        pid: int,
        cap_bytes: int | None,
        proc: Path = Path("/proc"),
        end_group: Callable[[], None] = _nothing,
    ) -> None:
        self.peak_bytes = 0
        self.anonymous_bytes = 0
        self.breached = False
        self._cap_bytes = cap_bytes
        self._status = proc / str(pid) / "status"
        self._family = Family(pid, proc)
        self._end_group = end_group
        self._suspect = False
        self._now_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rss-watchdog", daemon=True)

    def start(self) -> bool:
        """Begin; False where the box has no thread left, so that nothing is watched."""
        try:
            self._thread.start()
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """Stop watching and end whatever is left; returns once the thread has ended."""
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._family.kill_others()
        self._end_group()

    def look(self) -> bool:
        """Look once; True while any of them lives and they keep under the cap."""
        child = read_memory(self._status)
        others = self._family.others()
        if child is None and not others:
            return False
        seen = child or Occupied(0, 0, 0)
        self._now_bytes = seen.rss_bytes + self._family.anonymous_bytes(others)
        self.anonymous_bytes = max(self.anonymous_bytes, seen.anonymous_bytes)
        self._judge(seen.peak_bytes)
        return not self.breached

    def _judge(self, own_peak_bytes: int) -> None:
        """One process over the cap is a breach; several together are, when seen twice.

        Between a fork and the exec after it both halves show the same memory.
        """
        together = self._is_over(self._now_bytes)
        self.breached = self._is_over(own_peak_bytes) or (together and self._suspect)
        counts = self.breached or not together
        self.peak_bytes = max(self.peak_bytes, own_peak_bytes, self._now_bytes if counts else 0)
        self._suspect = together

    def _is_over(self, occupied_bytes: int) -> bool:
        return self._cap_bytes is not None and occupied_bytes > self._cap_bytes

    def _watch(self) -> None:
        _come_first()
        while not self._done.is_set():
            alive = self.look()
            if self.breached:
                self._family.kill()
                self._end_group()
                return
            if not alive:
                return
            self._done.wait(next_look_s(self._cap_bytes, self._now_bytes))


def _come_first() -> None:
    """Have this thread wake before what it watches, where the box lets it (root, RLIMIT_NICE)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), URGENT)


def next_look_s(cap_bytes: int | None, occupied_bytes: int) -> float:
    """Return when to look again: before the cap could be reached, within 4 and 20 ms."""
    if cap_bytes is None:
        return INTERVAL_S
    reached_in_s = (cap_bytes - occupied_bytes) / _FASTEST_BYTES_A_SECOND
    return min(max(reached_in_s, SHORTEST_S), INTERVAL_S)


def read_memory(status: Path) -> Occupied | None:
    """Return what a process occupies; None once it is gone."""
    try:
        text = status.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in text.splitlines()
        if line.startswith(("VmHWM:", "VmRSS:", "RssAnon:"))
    }
    if "VmHWM" not in found:
        return None
    return Occupied(found["VmHWM"], found.get("VmRSS", 0), found.get("RssAnon", 0))
