"""Tells a service manager how the agent fares: sd_notify(3), with the standard library alone.

Says nothing where no manager listens (``NOTIFY_SOCKET`` is absent). ``alive`` is called by the
agent's loop wherever it can show that it is not stuck; it sends at most four times in a watchdog's
time. A message that cannot be sent is dropped: the manager's watchdog judges what it hears.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

_NEVER_S = 3600.0
_SHARE = 4


class Notifier:
    """Used by the loop's thread. ``watchdog_s`` None: no watchdog waits for a sign of life."""

    def __init__(
        self,
        address: str | None,
        watchdog_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._monotonic = monotonic
        self._last = float("-inf")
        self._watched = watchdog_s is not None
        self.pause_s = _NEVER_S if watchdog_s is None else watchdog_s / _SHARE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Notifier":
        """Return the notifier of this process; another process's watchdog is not ours to feed."""
        given = os.environ if environ is None else environ
        usec, pid = given.get("WATCHDOG_USEC", ""), given.get("WATCHDOG_PID", "")
        ours = usec.isdecimal() and int(usec) > 0 and pid in {"", str(os.getpid())}
        return cls(given.get("NOTIFY_SOCKET") or None, int(usec) / 1e6 if ours else None)

    def ready(self) -> None:
        self._tell("READY=1")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in a few words what the agent does: ``systemctl status`` shows it."""
        self._tell("STATUS=" + " ".join(text.split())[:200])

    def alive(self) -> None:
        """Give a sign of life, where one is waited for and the last is old enough."""
        now = self._monotonic()
        if self._watched and now - self._last >= self.pause_s:
            self._last = now
            self._tell("WATCHDOG=1")

    def marked(self, name: str) -> None:
        """Take a mark of the loop: a lasting effect is progress, a new step is news."""
        self.alive()
        if name.startswith("saved "):
            self.status(name.removeprefix("saved "))

    def _tell(self, message: str) -> None:
        if self._address is None:
            return
        address = self._address
        target = "\0" + address[1:] if address.startswith("@") else address
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as channel:
            channel.sendto(message.encode(), target)


def living_wait(stop: threading.Event, notifier: Notifier) -> Callable[[float], None]:
    """Return a sleep that ends with ``stop`` and gives signs of life meanwhile."""

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            notifier.alive()
            stop.wait(min(left, notifier.pause_s))

    return wait
