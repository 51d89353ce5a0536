"""The sampler of ``bench/caps.py``: what trainers occupy, seen from outside, every 5 ms.

    python -m bench.capped.sampler BOX_PID CAP_BYTES

It shares no code with the agent and runs in a process of its own. It finds every session that a
child of the box leads and adds up what its processes hold: all their anonymous pages and the
largest file-backed part (they share their libraries). At the end of its input it prints what it
saw as one line of JSON.
"""

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.005
_NICENESS = -15


@dataclass
class Excess:
    """What one session did: its peak, and its longest stretch over the cap.

    The stretch lasted from its first sample to its last at least, and from the sample before to
    the sample after at most.
    """

    peak_bytes: int = 0
    least_s: float = 0.0
    most_s: float = 0.0
    stretches: int = 0
    before: float = 0.0
    first: float | None = None

    def add(self, total_bytes: int, cap_bytes: int, before: float, now: float) -> None:
        """Take a sample in."""
        self.peak_bytes = max(self.peak_bytes, total_bytes)
        if total_bytes <= cap_bytes:
            return self.end(now)
        if self.first is None:
            self.before, self.first = before, now
            self.stretches += 1
        self.least_s = max(self.least_s, now - self.first)
        return None

    def end(self, now: float) -> None:
        """Take in that the session is under the cap, or gone."""
        if self.first is not None:
            self.most_s = max(self.most_s, now - self.before)
        self.first = None


@dataclass
class Seen:
    """What all sessions of one run did, in bytes and milliseconds."""

    trainers: int = 0
    peak_bytes: int = 0
    stretches: int = 0
    over_least_ms: float = 0.0
    over_most_ms: float = 0.0
    longest_gap_ms: float = 0.0


@dataclass
class Sampler:
    """Samples the trainers of ``box``; ``cap_bytes`` is this run's."""

    box: int
    cap_bytes: int
    sessions: dict[int, Excess] = field(default_factory=dict)
    members: dict[int, int] = field(default_factory=dict)
    strangers: set[int] = field(default_factory=set)
    longest_gap_s: float = 0.0

    def sample(self, before: float) -> float:
        """Take one sample; return its time."""
        totals = self._look()
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - before)
        for session, total_bytes in totals.items():
            excess = self.sessions.setdefault(session, Excess())
            excess.add(total_bytes, self.cap_bytes, before, now)
        for session in self.sessions.keys() - totals.keys():
            self.sessions[session].end(now)
        return now

    def seen(self) -> Seen:
        known = self.sessions.values()
        return Seen(
            trainers=len(known),
            peak_bytes=max((s.peak_bytes for s in known), default=0),
            stretches=sum(s.stretches for s in known),
            over_least_ms=round(1000 * max((s.least_s for s in known), default=0.0), 1),
            over_most_ms=round(1000 * max((s.most_s for s in known), default=0.0), 1),
            longest_gap_ms=round(1000 * self.longest_gap_s, 1),
        )

    def _look(self) -> dict[int, int]:
        """Return bytes by session, of all sessions that descend from the box but its own."""
        self._find()
        parts: dict[int, list[tuple[int, int]]] = {}
        for pid, session in list(self.members.items()):
            memory = _memory(pid)
            if memory is None:
                del self.members[pid]
            else:
                parts.setdefault(session, []).append(memory)
        return {
            session: sum(anonymous for anonymous, _ in found) + max(files for _, files in found)
            for session, found in parts.items()
        }

    def _find(self) -> None:
        present = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208
        self.strangers &= present
        for pid in sorted(present - self.strangers - self.members.keys()):
            facts = _stat(pid)
            if facts is None:
                continue
            parent, session = int(facts[1]), int(facts[3])
            if session in self.members.values() or (parent == self.box and session == pid):
                self.members[pid] = session
            elif parent != self.box:
                self.strangers.add(pid)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _memory(pid: int) -> tuple[int, int] | None:
    """Return (anonymous, file-backed and shared) bytes; None for a process that has none left."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    kib = {
        line.split(":")[0]: line.split()[1]
        for line in text.splitlines()
        if line.startswith(("VmRSS", "RssAnon"))
    }
    if not {"VmRSS", "RssAnon"} <= kib.keys():
        return None
    anonymous = int(kib["RssAnon"]) * 1024
    return anonymous, int(kib["VmRSS"]) * 1024 - anonymous


@contextlib.contextmanager
def sampling(box: int, cap_bytes: int) -> Iterator[Seen]:
    """Sample while the block runs; what was seen is filled in at its end."""
    seen = Seen()
    process = subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-m", "bench.capped.sampler", str(box), str(cap_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout is None or process.stdout.readline() != "ready\n":
        message = "the sampler did not start"
        raise RuntimeError(message)
    try:
        yield seen
    finally:
        answer, _ = process.communicate(timeout=60)
        for name, value in json.loads(answer).items():
            setattr(seen, name, value)


def main(arguments: list[str]) -> None:
    """Sample until the input ends, then tell."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    sampler = Sampler(int(arguments[0]), int(arguments[1]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    before = time.monotonic()
    while not select.select([sys.stdin], [], [], SAMPLE_S)[0]:
        before = sampler.sample(before)
    sys.stdout.write(json.dumps(dataclasses.asdict(sampler.seen())) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
