"""Starts and stops the programs of the demo, and reads what the boxes say of their progress."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STOP_AFTER_S = 15.0
START_WITHIN_S = 30.0


class ProgramFailedError(RuntimeError):
    """A program of the demo ended when it should not have."""

    def __init__(self, name: str, code: int | None, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        super().__init__(f"{name} ended with exit status {code}; the end of {log}:\n{tail}")


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
            raise ProgramFailedError(self.name, code, self.log)

    def stop(self) -> None:
        """Ask the program to stop, and end it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_AFTER_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        if self.follower is not None:
            self.follower.join(STOP_AFTER_S)


def start(name: str, *command: str, log: Path, env: Mapping[str, str] | None = None) -> Program:
    """Start a console script; its standard error goes to ``log``, its output is followed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            _script(command),
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    program = Program(name=name, process=process, log=log)
    program.follower = threading.Thread(target=_follow, args=(program,), daemon=True)
    program.follower.start()
    return program


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
    raise ProgramFailedError(program.name, None, program.log)
