"""What a check says, and what a check is given to look at."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from device_agent.disk.paths import StatePaths
from device_agent.errors import AgentError
from device_agent.loop.state import Identity, StateStore
from device_agent.machine.profile import run_probe
from device_agent.service.service import Machine
from device_agent.settings import AgentSettings

Level = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """``found`` says what is, ``mend`` (for ``warn`` and ``fail``) the command that mends it."""

    check: str
    level: Level
    found: str
    mend: str | None = None

    def __post_init__(self) -> None:
        if (self.level in {"warn", "fail"}) != (self.mend is not None):
            message = f"{self.check}: {self.level} with the mending command {self.mend!r}"
            raise ValueError(message)


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def skip(check: str, found: str) -> Finding:
    return Finding(check, "skip", found)


def warn(check: str, found: str, mend: str) -> Finding:
    return Finding(check, "warn", found, mend)


def fail(check: str, found: str, mend: str) -> Finding:
    return Finding(check, "fail", found, mend)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """The box as the checks see it. ``problems`` are those of its settings.

    Where the settings are wrong, ``settings`` are what could be read without them.
    """

    settings: AgentSettings
    problems: tuple[str, ...] = ()
    file: Path | None = None
    token_file: Path | None = None
    token_in_file: bool = False
    offline: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    machine: Machine = field(default_factory=Machine)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    probe: Callable[[], dict[str, Any]] = run_probe

    @property
    def paths(self) -> StatePaths:
        return StatePaths(self.settings.state)

    def identity(self) -> Identity | None:
        """Return who the box is; None where it is not enrolled or its file is damaged."""
        try:
            return StateStore(self.paths).identity()
        except (AgentError, OSError):
            return None
