"""Lines from a pipe, with a pulse: None about five times a second while nothing comes.

A line longer than 64 kB is dropped, so that a child cannot fill the agent's memory.
"""

import os
import select
from collections.abc import Callable, Iterator

PULSE_S = 0.2
_MOST_LINE_BYTES = 65_536
_CHUNK_BYTES = 65_536


def read_lines(descriptor: int, alive: Callable[[], bool]) -> Iterator[bytes | None]:
    """Yield lines without their end, and None as a pulse, until the end of the stream.

    A grandchild that keeps the pipe open does not keep us: ``alive`` false ends the wait.
    """
    rest = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], PULSE_S)
        if not ready:
            yield None
            if not alive():
                return
            continue
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            if rest:
                yield rest
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if len(line) <= _MOST_LINE_BYTES)
        rest = rest if len(rest) <= _MOST_LINE_BYTES else b""
