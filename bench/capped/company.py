"""What makes a run of ``bench/caps.py`` hostile, and who asks the endpoint meanwhile."""

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_ASK_S = 0.1
_LARGE_EVERY = 10
_RELENT_S = 0.5
_HOG = """
import sys, time
most, rough = int(sys.argv[1]), sys.argv[2] == "rough"
while True:
    held = [b"x" * 4_000_000 for _ in range(most // 4_000_000)]
    time.sleep(0.3 if rough else 3600)
    del held
    time.sleep(0.2)
"""


@dataclass
class Caller:
    """Asks the box's endpoint ten times a second, about a large image once a second."""

    port: int
    tile: bytes
    large: bytes
    asked: int = 0
    failed: int = 0
    slowest_ms: float = 0.0
    last_failure: str = ""
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _ask_on(self) -> None:
        while not self._done.wait(_ASK_S):
            start = time.monotonic()
            trouble = self.ask(self.tile if self.asked % _LARGE_EVERY else self.large)
            self.asked += 1
            self.slowest_ms = max(self.slowest_ms, 1000 * (time.monotonic() - start))
            if trouble is not None:
                self.failed += 1
                self.last_failure = trouble

    def ask(self, image: bytes) -> str | None:
        """Return what went wrong with one prediction, or None."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            with contextlib.closing(connection):
                connection.request("POST", "/predict", image)
                answer = connection.getresponse()
                text = answer.read().decode("utf-8", "replace")
        except OSError as exc:
            return f"no answer: {exc}"
        return None if answer.status == http.HTTPStatus.OK else f"{answer.status}: {text[:300]}"


@contextlib.contextmanager
def hog(kind: str, most_bytes: int, *, procs: Path | None, enough: Callable[[], bool]) -> Any:  # noqa: ANN401 - a context
    """Another process that holds memory, ``steady`` or ``rough`` (taken and let go), or none.

    It lives until there is ``enough`` of it; with ``procs`` it crowds that control group.
    """
    if kind == "none":
        yield
        return
    command = [sys.executable, "-S", "-c", _HOG, str(most_bytes), kind]
    process = subprocess.Popen(command)  # noqa: S603 - our own program
    over = threading.Event()

    def relent() -> None:
        while not over.wait(_RELENT_S):
            if enough():
                process.kill()
                return

    watcher = threading.Thread(target=relent, daemon=True)
    watcher.start()
    try:
        if procs is not None:
            procs.write_text(str(process.pid), encoding="ascii")
        yield
    finally:
        over.set()
        watcher.join()
        process.kill()
        process.wait()
