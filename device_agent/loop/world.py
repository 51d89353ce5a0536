"""The outside world that the agent is handed: clock, waiting, chance. Tests hand in their own."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _unmarked(_: str) -> None:
    return


def _unheard() -> None:
    return


@dataclass(frozen=True, kw_only=True)
class World:
    """``stop`` is set by SIGTERM; ``wait`` sleeps that long or until ``stop``.

    ``mark`` is called with a name between every two lasting effects: tests kill there.
    ``alive`` is called wherever the loop can show that it is not stuck.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    mark: Callable[[str], None] = _unmarked
    alive: Callable[[], None] = _unheard
    chance: Random = field(default_factory=Random)
    sleep: Callable[[float], object] | None = None

    def wait(self, seconds: float) -> bool:
        """Return True when the agent was asked to stop."""
        if self.sleep is not None:
            self.sleep(seconds)
            return self.stop.is_set()
        return self.stop.wait(seconds)
