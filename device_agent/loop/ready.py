"""Asks the line whether the box may train now: the ``ready_hook``, a program of the operator's.

It is run without a shell, without arguments, with a quiet environment and in a process group of
its own, which is killed afterwards: nothing that it started lives on. Exit code 0 within ten
seconds means ready. Everything else puts training off and is asked again at the next poll; the
first line that it printed is the reason. A hook that cannot be run at all puts training off too
(a box must not train on a busy line because of a typo), and is reported as an event.
"""

import os
import signal
import subprocess
from pathlib import Path
from time import monotonic

from contract.base import Message, Text
from device_agent.loop.box import printable
from device_agent.training.children import quiet_environment
from device_agent.training.family import kill_group
from device_agent.training.lines import read_lines

TIMEOUT_S = 10.0
_MOST_TEXT = 300


class Readiness(Message):
    """``broken`` says that the hook itself did not work, which a person must mend."""

    ready: bool
    reason: Text = ""
    broken: bool = False


def hook_trouble(program: Path | None) -> str | None:
    """Return why the hook cannot be run, as far as a look at the file tells; None if it can."""
    if program is None:
        return None
    if not program.is_file():
        return f"the ready hook {program} is no file; correct --ready-hook"
    if not os.access(program, os.X_OK):
        return f"the ready hook {program} may not be run; chmod +x it for the agent's user"
    return None


def ask_hook(program: Path | None, timeout_s: float = TIMEOUT_S) -> Readiness:
    """Return what the hook says; no hook is always ready."""
    if program is None:
        return Readiness(ready=True)
    trouble = hook_trouble(program)
    if trouble is not None:
        return Readiness(ready=False, reason=trouble, broken=True)
    try:
        return _run(program, timeout_s)
    except OSError as exc:
        reason = f"the ready hook {program} cannot be run: {exc.strerror}"
        return Readiness(ready=False, reason=printable(reason), broken=True)


def _run(program: Path, timeout_s: float) -> Readiness:
    child = subprocess.Popen(  # noqa: S603 - the operator's own program, without a shell
        [str(program.resolve())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=quiet_environment(),
        start_new_session=True,
    )
    try:
        said, in_time = _listen(child, timeout_s)
    finally:
        kill_group(child.pid, signal.SIGKILL)
        child.wait()
    return _answer(program, child.returncode, said, timeout_s, in_time=in_time)


def _listen(child: "subprocess.Popen[bytes]", timeout_s: float) -> tuple[str, bool]:
    """Return the first line, and whether the hook ended in time."""
    deadline = monotonic() + timeout_s
    first = b""
    if child.stdout is None:
        return "", False
    with child.stdout as stream:
        for line in read_lines(stream.fileno(), lambda: child.poll() is None):
            first = first or (line or b"").strip()
            if monotonic() > deadline:
                return _text(first), False
    try:
        child.wait(max(0.0, deadline - monotonic()))
    except subprocess.TimeoutExpired:
        return _text(first), False
    return _text(first), True


def _text(line: bytes) -> str:
    return printable(line.decode("utf-8", errors="replace"))[:_MOST_TEXT]


def _answer(
    program: Path, returncode: int, said: str, timeout_s: float, *, in_time: bool
) -> Readiness:
    if not in_time:
        reason = f"the ready hook {program} did not end within {timeout_s:g} s"
        return Readiness(ready=False, reason=printable(reason), broken=True)
    if returncode == 0:
        return Readiness(ready=True)
    reason = f"the line is busy: {said or f'the ready hook ended with {returncode}'}"
    return Readiness(ready=False, reason=reason)
