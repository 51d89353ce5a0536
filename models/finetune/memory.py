"""The memory of this very process: what it occupies, how the allocator behaves, and its cap.

Linux only in effect: where /proc is missing the figures are 0 and no cap is in force. It limits
this process alone; cgroups and watchdogs are the business of whoever starts it.

The cap promises true RSS (anonymous plus file-backed). RLIMIT_DATA counts *reserved* writable
memory instead (man 2 setrlimit), so the limit is translated:

    limit = cap - file-backed RSS + (reserved - anonymous RSS at the start)

The last term is what libraries reserve and do not touch (OpenBLAS keeps twice 32 MiB); it is taken
once, when the cap is put in force, so that later reservations count in full. File-backed RSS grows
while code pages are first executed, hence ``follow`` after each pass, and an allowance ahead.
"""

import ctypes
import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.finetune.errors import OverCapError

CAP_RLIMIT_DATA = "rlimit_data"
CAP_RSS_CHECK = "rss_check"

_STATUS = Path("/proc/self/status")
_FIELDS = ("VmRSS", "VmHWM", "RssAnon", "RssFile", "VmData")
_KIB = 1024
# File-backed pages that sessions and steps were seen to add (11 MiB), and what else may come.
_FILE_GROWTH_BYTES = 12 * 1024 * 1024
_FILE_SLACK_BYTES = 512 * 1024
_BALLAST_BYTES = 256 * 1024
# What the host allocates between two passes: a micro-batch of pixels, scratch, a file buffer.
_HOST_BYTES = 2 * 1024 * 1024
# mallopt(3) parameters and values.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of this process. ``reserved_bytes`` is writable address space, touched or not."""

    rss_bytes: int
    peak_rss_bytes: int
    anonymous_bytes: int
    file_bytes: int
    reserved_bytes: int


def read_memory() -> Memory:
    """Return the figures of /proc/self/status; all 0 where there is none."""
    try:
        lines = _STATUS.read_text("ascii", "replace").splitlines()
    except OSError:
        lines = []
    found = dict.fromkeys(_FIELDS, 0)
    for line in lines:
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * _KIB
    return Memory(
        rss_bytes=found["VmRSS"],
        peak_rss_bytes=found["VmHWM"],
        anonymous_bytes=found["RssAnon"] or found["VmRSS"],
        file_bytes=found["RssFile"],
        reserved_bytes=found["VmData"],
    )


def tune_allocator() -> None:
    """Make glibc give freed memory back: one arena, and big blocks mapped one by one.

    A fixed threshold matters: by default glibc raises it to the largest block ever freed, and the
    heap keeps the holes. Does nothing where the C library has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BLOCK_BYTES)


def release_memory() -> None:
    """Collect garbage and return free heap pages to the kernel."""
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class MemoryGuard:
    """Holds the process under ``cap_bytes`` of RSS and remembers the peaks it saw.

    Make it after the imports, and call ``enforce`` once libraries have reserved what they will.
    Without a cap it only observes. ``lift`` opens the way for writing the result once the cap has
    been hit: only the soft limit is ever set.
    """

    def __init__(self, cap_bytes: int | None) -> None:
        start = read_memory()
        self.cap_bytes = cap_bytes if start.rss_bytes else None
        self._file_bytes_ahead = start.file_bytes + _FILE_GROWTH_BYTES
        self.floor_bytes = start.rss_bytes
        self.peak_anonymous_bytes = start.anonymous_bytes
        self._untouched_bytes = 0
        self._hard_limit = resource.getrlimit(resource.RLIMIT_DATA)[1]
        self._ballast: bytearray | None = bytearray(_BALLAST_BYTES)
        self._room = resource.RLIM_INFINITY
        self.cap_kinds: list[str] = []

    def enforce(self) -> None:
        """Put the cap in force; raises OverCapError when the imports alone pass it."""
        if self.cap_bytes is None:
            return
        now = read_memory()
        self._untouched_bytes = max(0, now.reserved_bytes - now.anonymous_bytes)
        self.cap_kinds = [CAP_RLIMIT_DATA, CAP_RSS_CHECK]
        self._refuse_above_cap(now, "loading its libraries")
        self._limit(now)

    def follow(self, doing: str) -> Memory:
        """Take note of the present figures and move the limit; raises OverCapError."""
        now = read_memory()
        self.peak_anonymous_bytes = max(self.peak_anonymous_bytes, now.anonymous_bytes)
        if self.cap_bytes is not None:
            self._refuse_above_cap(now, doing)
            self._limit(now)
        return now

    @contextmanager
    def runtime(self) -> Iterator[None]:
        """Let onnxruntime have all but what the host needs afterwards.

        Its arena takes whatever the limit allows and copes with less; the host, left without a
        megabyte, would fail in places that cannot be told apart from a bug.
        """
        if self.cap_bytes is None:
            yield
            return
        self._set_soft_limit(max(1, self._room - _HOST_BYTES))
        try:
            yield
        finally:
            self._set_soft_limit(self._room)

    def peaks(self) -> tuple[int, int]:
        """Return (peak RSS, peak anonymous) in bytes.

        The kernel keeps no high-water mark of the anonymous part, so it is the larger of what was
        sampled and of peak RSS less the file-backed pages of now: a close lower estimate.
        """
        now = read_memory()
        estimate = now.peak_rss_bytes - now.file_bytes
        return now.peak_rss_bytes, max(self.peak_anonymous_bytes, estimate)

    def over_cap(self, doing: str) -> OverCapError:
        """Return the error to raise when an allocation failed while ``doing`` something."""
        return OverCapError(doing, self.cap_bytes, read_memory().peak_rss_bytes)

    def lift(self) -> None:
        """Give up the ballast and the soft limit: what is left to do is small."""
        self._ballast = None
        if self.cap_bytes is not None:
            self._room = self._hard_limit
            self._set_soft_limit(self._room)

    def _limit(self, now: Memory) -> None:
        files = max(now.file_bytes + _FILE_SLACK_BYTES, self._file_bytes_ahead)
        room = (self.cap_bytes or 0) - files + self._untouched_bytes
        self._room = max(1, room)
        if self._hard_limit != resource.RLIM_INFINITY:
            self._room = min(self._room, self._hard_limit)
        self._set_soft_limit(self._room)

    def _set_soft_limit(self, soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard_limit))

    def _refuse_above_cap(self, now: Memory, doing: str) -> None:
        if self.cap_bytes is not None and now.peak_rss_bytes > self.cap_bytes:
            raise OverCapError(doing, self.cap_bytes, now.peak_rss_bytes)
