"""Reads a socket so that a slow client cannot hold a thread: a request must be whole in time.

A time-out of each read alone is none: a client that sends a byte now and then would never meet it.
"""

import io
import socket
import time
from collections.abc import Callable
from typing import Any


class DeadlineReader(io.RawIOBase):
    """``begin`` a request; it may start within ``idle_s`` and must then be whole in ``within_s``.

    Raises TimeoutError.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        idle_s: float,
        within_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._idle_s = idle_s
        self._within_s = within_s
        self._monotonic = monotonic
        self._until_s: float | None = None

    def readable(self) -> bool:
        return True

    def begin(self) -> None:
        """Forget the request before."""
        self._until_s = None

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - the library says no more
        self._connection.settimeout(self._left_s())
        n_bytes = self._connection.recv_into(buffer)
        if self._until_s is None:
            self._until_s = self._monotonic() + self._within_s
        return n_bytes

    def _left_s(self) -> float:
        if self._until_s is None:
            return self._idle_s
        left_s = self._until_s - self._monotonic()
        if left_s <= 0:
            message = f"the request was not whole after {self._within_s:g} s"
            raise TimeoutError(message)
        return left_s
