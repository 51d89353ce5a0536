"""Keeps a dead cloud from costing the line time: after a failure it is not asked for a while. Pure.

Closed: anyone may ask. A failure opens it for a pause that doubles with every failure in a row, or
for as long as the server asked. After the pause one caller alone may ask (half-open); its answer
closes the breaker or opens it again. Thread-safe; the clock is handed in.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
LONGEST_TOLD_S = 3600.0
_MOST_DOUBLINGS = 16


@dataclass(frozen=True)
class Permit:
    """Leave to ask once. A ``probe`` is the only question under way after a pause."""

    number: int
    probe: bool


class Breaker:
    """``admit`` before a question; then say of its permit ``succeeded`` or ``failed``, once.

    What is said of a permit that a later one has overtaken changes nothing: two questions that
    were under way together when the cloud died are one failure.
    """

    def __init__(self, monotonic: Callable[[], float], chance: Random) -> None:
        self._monotonic = monotonic
        self._chance = chance
        self._lock = threading.Lock()
        self._number = 0
        self._failures = 0
        self._open_until_s = 0.0
        self._probe_until_s: float | None = None

    def admit(self, deadline_s: float) -> Permit | None:
        """Return a permit, or None while the breaker is open or another caller probes.

        A probe that says nothing within ``deadline_s`` has failed.
        """
        with self._lock:
            now_s = self._monotonic()
            if self._probe_until_s is not None:
                if now_s < self._probe_until_s:
                    return None
                self._open(now_s, None)
            if now_s < self._open_until_s:
                return None
            probe = self._failures > 0
            self._number += probe
            self._probe_until_s = now_s + deadline_s if probe else None
            return Permit(self._number, probe)

    def rests_s(self) -> float:
        """Return the seconds that the pause has left."""
        with self._lock:
            return max(0.0, self._open_until_s - self._monotonic())

    def succeeded(self, permit: Permit) -> None:
        """Close the breaker."""
        with self._lock:
            if permit.number == self._number:
                self._failures, self._open_until_s, self._probe_until_s = 0, 0.0, None

    def failed(self, permit: Permit, retry_after_s: float | None = None) -> None:
        """Open the breaker; ``retry_after_s`` is what a busy server asked for."""
        with self._lock:
            if permit.number == self._number:
                self._open(self._monotonic(), retry_after_s)

    def _open(self, now_s: float, retry_after_s: float | None) -> None:
        doublings = min(self._failures, _MOST_DOUBLINGS)
        longest_s = min(FIRST_PAUSE_S * 2**doublings, LONGEST_PAUSE_S)
        pause_s = longest_s * (0.5 + self._chance.random() / 2)
        if retry_after_s is not None:
            told_s = min(retry_after_s, LONGEST_TOLD_S)
            pause_s = told_s * (1 + self._chance.random() / 4)
        self._number += 1
        self._failures += 1
        self._open_until_s, self._probe_until_s = now_s + pause_s, None
