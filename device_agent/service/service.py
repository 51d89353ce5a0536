"""Installs, removes and looks at the agent's systemd service.

It decides what is written where; ``service.unit`` makes the texts. The outside (a root folder,
the programs that are called, who calls) is passed in.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.config import SYSTEM_FILE, Effective, is_path, is_secret
from device_agent.disk.files import write_atomic
from device_agent.errors import ServiceError
from device_agent.machine.accelerators import find_accelerators
from device_agent.service import unit
from device_agent.service.unit import SYSUSERS_FILE, TOKEN_FILE, UNIT_FILE, UNIT_NAME

_CALL_S = 60
_FACTS = (
    "LoadState", "UnitFileState", "ActiveState", "SubState", "StatusText", "MainPID", "User",
    "NRestarts", "Result", "MemoryCurrent",
)  # fmt: skip
ELSEWHERE = (
    "systemd does not run here. Have this machine's own supervisor start `device_agent run`, "
    "restart it when it ends and send SIGTERM to stop it (in a container: that command and a "
    "restart policy). `device_agent service install --dry-run` prints the unit for another machine"
)


@dataclass(frozen=True)
class Done:
    """How a program that was called ended, and what it printed."""

    code: int
    text: str


def call_program(command: Sequence[str]) -> Done:
    """Run a program and return its end; one that is absent or hangs ends with 127."""
    try:
        done = subprocess.run(  # noqa: S603 - systemd's own programs
            list(command), capture_output=True, timeout=_CALL_S, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return Done(127, str(exc))
    return Done(done.returncode, f"{done.stdout}{done.stderr}".strip())


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that a service is installed on."""

    root: Path = Path("/")
    call: Callable[[Sequence[str]], Done] = call_program
    is_root: Callable[[], bool] = field(default=lambda: os.geteuid() == 0)

    def at(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def has_systemd(self) -> bool:
        """Return whether systemd is this machine's first process: sd_booted(3)."""
        return self.at(Path("/run/systemd/system")).is_dir()

    def require(self) -> None:
        """Raise ServiceError where systemd is not there or we may not manage it."""
        if not self.has_systemd():
            raise ServiceError(ELSEWHERE)
        if not self.is_root():
            message = "only root may manage services: call it again with sudo"
            raise ServiceError(message)

    def must(self, *command: str) -> str:
        """Call a program that has to succeed; raises ServiceError with its own words."""
        done = self.call(command)
        if done.code != 0:
            message = f"`{' '.join(command)}` ended with {done.code}: {done.text[:500]}"
            raise ServiceError(message)
        return done.text


@dataclass(frozen=True)
class NewFile:
    """A file to write. ``keep``: one that is there stays as it is."""

    path: Path
    text: str
    mode: int = 0o644
    keep: bool = False
    secret: bool = False


def plan_files(effective: Effective, user: str, machine: Machine) -> list[NewFile]:
    """Return every file of the service, the unit first; raises ServiceError."""
    trouble = unit.user_trouble(user)
    if trouble is not None:
        raise ServiceError(trouble)
    settings = effective.settings
    if not settings.server:
        message = "name the server, in the configuration file or as --server"
        raise ServiceError(message)
    config = effective.file.resolve() if effective.file else SYSTEM_FILE
    state = _state(effective)
    try:
        text = unit.unit_text(_plan(effective, user, config, state))
    except ValueError as exc:
        raise ServiceError(str(exc)) from exc
    files = [NewFile(UNIT_FILE, text), NewFile(SYSUSERS_FILE, unit.sysusers_text(user, state))]
    if effective.file is None or not machine.at(config).is_file():
        files.append(NewFile(SYSTEM_FILE, _config(effective, state), keep=True))
    if settings.enrol_token is not None:
        token = settings.enrol_token.get_secret_value()
        files.append(NewFile(TOKEN_FILE, f"{token}\n", mode=0o600, secret=True))
    return files


def _state(effective: Effective) -> Path:
    """Return the state folder: where none is named, not the caller's home but the service's."""
    if effective.origins["state"] == "default":
        return unit.DEFAULT_STATE
    return effective.settings.state.resolve()


def _plan(effective: Effective, user: str, config: Path, state: Path) -> unit.Plan:
    settings = effective.settings
    package = Path(__file__).resolve().parents[2]
    folders = (Path(sys.prefix), Path(sys.base_prefix), package)
    images = [p for p in (settings.data, settings.test_data, settings.ca_file) if p is not None]
    reads = dict.fromkeys(path.resolve() for path in (*folders, *images, config.parent))
    return unit.Plan(
        command=(sys.executable, "-m", "device_agent", "run", "--config", str(config)),
        user=user,
        state=state,
        state_in_unit=effective.file is not None and effective.origins["state"] != "file",
        reads=tuple(reads),
        writes=tuple(p.resolve() for p in (settings.watch_folder,) if p is not None),
        ram_cap_bytes=settings.ram_cap,
        devices=bool(find_accelerators()),
    )


def _config(effective: Effective, state: Path) -> str:
    """Write what was given on the command line and in the environment, but no secret."""
    values = effective.settings.model_dump(mode="json")
    given = []
    for name, value in values.items():
        if name == "state":
            given.append((name, str(state)))
        elif effective.origins[name] != "default" and not is_secret(name) and value is not None:
            path = getattr(effective.settings, name)
            given.append((name, str(path.resolve()) if is_path(name) else value))
    return unit.config_text(given)


def install(files: Sequence[NewFile], user: str, machine: Machine, *, start: bool) -> None:
    """Write the files, make the user, tell systemd; start the service where ``start``."""
    state = state_of(files[0].text)
    machine.require()
    check_importable(machine)
    for file in files:
        target = machine.at(file.path)
        if not (file.keep and target.exists()):
            write_atomic(target, file.text.encode(), mode=file.mode)
    machine.must("systemd-sysusers", str(SYSUSERS_FILE))
    _own_state(state, user, machine)
    machine.must("systemctl", "daemon-reload")
    verb = ("enable", "--now") if start else ("enable",)
    machine.must("systemctl", *verb, UNIT_NAME)


def check_importable(machine: Machine) -> None:
    """Raise ServiceError unless the service's Python finds the agent from any folder."""
    machine.must(sys.executable, "-c", "import os; os.chdir('/'); import device_agent, models")


def state_of(text: str) -> Path | None:
    """Return the state folder that a unit may write, where systemd does not make it itself."""
    said = sandbox_of(text)
    if "StateDirectory" in said:
        return None
    word = said["ReadWritePaths"][0]
    plain = re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
    return Path(plain.replace("%%", "%"))


def _own_state(state: Path | None, user: str, machine: Machine) -> None:
    if state is not None:
        machine.must("install", "-d", "-m", "0700", "-o", user, "-g", user, str(state))


def uninstall(machine: Machine) -> list[str]:
    """Stop and remove the service; return what was removed. Settings and state are kept."""
    machine.require()
    if machine.at(UNIT_FILE).exists():
        machine.must("systemctl", "disable", "--now", UNIT_NAME)
    removed = [path for path in (UNIT_FILE, SYSUSERS_FILE) if machine.at(path).exists()]
    for path in removed:
        machine.at(path).unlink()
    machine.must("systemctl", "daemon-reload")
    return [str(path) for path in removed]


def look(machine: Machine) -> dict[str, str]:
    """Return what systemd says of the service; raises ServiceError where it cannot be asked."""
    if not machine.has_systemd():
        raise ServiceError(ELSEWHERE)
    asked = [f"--property={name}" for name in _FACTS]
    lines = machine.must("systemctl", "show", UNIT_NAME, *asked).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def sandbox_of(text: str) -> dict[str, list[str]]:
    """Return the settings of a unit's text, each with every value that it is given."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            found.setdefault(key, []).append(value)
    return found
