"""Starts and stops the programs of the demo, and reads what the boxes say of their progress."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_AFTER_S = 15.0
START_WITHIN_S = 30.0
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


class ProgramFailedError(RuntimeError):
    """A program of the demo ended when it should not have."""

    def __init__(self, name: str, ending: str, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if log.exists() else []
        tail = "\n".join(lines) or "(nothing)"
        super().__init__(f"{name} {ending}; the end of {log}:\n{tail}")
        self.name = name


def run_tool(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a console script of this environment and return its output; raises when it fails."""
    done = subprocess.run(  # noqa: S603
        _script(command),
        check=False,
        env=_environment(env),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        message = f"{' '.join(command)} failed:\n{done.stderr.strip()}"
        raise RuntimeError(message)
    return done.stdout.strip()


def _script(command: tuple[str, ...]) -> list[str]:
    """Return the command with its program's full path: scripts stand beside the interpreter."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return dict(os.environ) | {"PYTHONUNBUFFERED": "1"} | dict(extra or {})


@dataclass(kw_only=True)
class Program:
    """A running program in a session of its own, so that Ctrl-C reaches only the demo."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    progress: dict[str, float | str] = field(default_factory=dict)
    follower: threading.Thread | None = None

    def check(self) -> None:
        """Raise ProgramFailedError if the program is no longer running."""
        code = self.process.poll()
        if code is not None:
            raise ProgramFailedError(self.name, _ending(code), self.log)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program, once or again."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = STOP_AFTER_S) -> None:
        """Ask the program to stop, end it if it does not, and end what it has left behind."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.follower is not None:
            self.follower.join(within_s)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})"


def stop_all(programs: Sequence[Program], within_s: float = STOP_AFTER_S) -> None:
    """Stop the boxes at once and then the server, the first, to which they say goodbye.

    Signals that ask for it again are ignored meanwhile: it ends by itself, and leaves nothing.
    """
    for number in STOPPING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for program in programs[1:]:
        program.ask_to_stop()
    for program in reversed(programs):
        program.stop(within_s)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back the signals that stop the demo, and raise KeyboardInterrupt for them at the end.

    Between the start of a program and the note that it runs, a stop would leave it behind.
    """
    seen: list[int] = []
    before = {n: signal.signal(n, lambda number, _: seen.append(number)) for n in STOPPING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:
        raise KeyboardInterrupt


def start(
    name: str,
    *command: str,
    log: Path,
    programs: list[Program],
    env: Mapping[str, str] | None = None,
) -> Program:
    """Start a console script and add it to ``programs``, which the caller will stop.

    Its standard error goes to ``log``, its output is followed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with held_back():
        programs.append(_started(name, command, log, env))
    return programs[-1]


def _started(
    name: str, command: tuple[str, ...], log: Path, env: Mapping[str, str] | None
) -> Program:
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            _script(command),
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=_end_with_the_demo,  # noqa: PLW1509  # it calls the kernel and nothing else
        )
    program = Program(name=name, process=process, log=log)
    program.follower = threading.Thread(target=_follow, args=(program,), daemon=True)
    program.follower.start()
    return program


def _end_with_the_demo() -> None:
    """Let Linux ask this program to stop when the demo is gone, even killed (man 2 prctl)."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _follow(program: Program) -> None:
    """Keep the newest progress line; a program's output must be read or it would stop."""
    output = program.process.stdout
    if output is None:
        return
    with output:
        for line in output:
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                program.progress = said


def free_port(wanted: int) -> int:
    """Return ``wanted`` when nothing listens there, else a port that is free now."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    message = "no TCP port is free on 127.0.0.1"
    raise RuntimeError(message)


def wait_until_listening(program: Program, port: int) -> None:
    """Return when the port answers; raises ProgramFailedError when the program ends before."""
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        program.check()
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    ending = f"did not answer on port {port} within {START_WITHIN_S:.0f} s"
    raise ProgramFailedError(program.name, ending, program.log)
