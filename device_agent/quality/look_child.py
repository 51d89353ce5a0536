"""Looks at the images in a child under the trainer's cap: ``python -m device_agent.quality``.

A picture that crashes a decoder ends the child, never the agent.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from device_agent.disk.files import named_disk_errors
from device_agent.errors import AgentError, DataUnusableError, StoppedError
from device_agent.quality.request import CheckRequest, CheckSummary
from device_agent.training.children import quiet_environment
from device_agent.training.family import kill_group
from device_agent.training.watchdog import Watchdog

log = structlog.get_logger()
COMMAND = (sys.executable, "-m", "device_agent.quality")
Stopped = Callable[[], bool]
Look = Callable[[CheckRequest, int | None, Stopped], CheckSummary]
_LONGEST_S = 1800.0
_LOOK_EVERY_S = 0.1
_TAIL_BYTES = 500


class LookFailedError(AgentError):
    """The child gave no answer; training may go on without one."""

    name = "data_check_failed"


class LookOverCapError(LookFailedError):
    """The child passed its memory cap."""


def look_in_child(request: CheckRequest, cap_bytes: int | None, stopped: Stopped) -> CheckSummary:
    """Return what the child found; under a cap too small for the network, without judging labels.

    Raises LookFailedError, DataUnusableError, StoppedError, DiskFullError.
    """
    try:
        return _look(request, cap_bytes, stopped)
    except LookOverCapError as exc:
        if request.model is None:
            raise
        log.info("labels_not_judged", reason=str(exc))
        return _look(request.model_copy(update={"model": None}), cap_bytes, stopped)


def _look(request: CheckRequest, cap_bytes: int | None, stopped: Stopped) -> CheckSummary:
    folder = Path(tempfile.gettempdir())
    with (
        named_disk_errors(folder),
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as trouble,
    ):
        asked.write(request.model_dump_json().encode())
        asked.seek(0)
        code, breached = _run((asked, answer, trouble), cap_bytes, stopped)
        if breached:
            raise LookOverCapError(f"the look at the images took more than {cap_bytes} bytes")
        return _told(code, answer, trouble)


def _run(
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]], cap_bytes: int | None, stopped: Stopped
) -> tuple[int, bool]:
    """Return the exit code, and whether the cap was passed."""
    stdin, stdout, stderr = streams
    leash = (sys.executable, "-m", "device_agent.training.leash", str(os.getpid()), "-")
    child = subprocess.Popen(  # noqa: S603 - our own module
        [*leash, *COMMAND],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=quiet_environment(),
        start_new_session=True,
    )
    watchdog = Watchdog(child.pid, cap_bytes)
    watchdog.start()
    try:
        code = _wait(child, stopped)
    finally:
        kill_group(child.pid, signal.SIGKILL)
        child.wait()
        watchdog.stop()
    return code, watchdog.breached


def _wait(child: "subprocess.Popen[bytes]", stopped: Stopped) -> int:
    deadline = time.monotonic() + _LONGEST_S
    while True:
        try:
            return child.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            if stopped():
                raise StoppedError from None
            if time.monotonic() > deadline:
                message = f"the look at the images took over {_LONGEST_S:g} s"
                raise LookFailedError(message) from None


def _told(code: int, answer: IO[bytes], trouble: IO[bytes]) -> CheckSummary:
    trouble.seek(0)
    said = trouble.read()[-_TAIL_BYTES:].decode("utf-8", errors="replace").strip()
    if code == DataUnusableError.exit_code:
        raise DataUnusableError(said)
    answer.seek(0)
    try:
        return CheckSummary.model_validate_json(answer.read())
    except ValidationError as exc:
        message = f"the look at the images ended with {code}: {said[-300:]}"
        raise LookFailedError(message) from exc
