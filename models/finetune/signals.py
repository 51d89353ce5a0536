"""A clean stop: SIGTERM is remembered, and the run ends after the step it is in."""

import signal
from types import FrameType


class StopRequest:
    """Callable: True once SIGTERM has arrived. Installs the handler when made."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True
