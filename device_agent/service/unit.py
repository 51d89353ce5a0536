"""The text of the systemd unit that runs the agent, and of what goes with it. Pure.

What the sandbox leaves open, and why: the state folder is writable and everything else is not; the
network is IP and local sockets; the memory controller is delegated, so that the agent can make a
group with a limit of its own for every training. The empty credential stands in where no token lies
any more: a box that is enrolled needs none. Sources: systemd.exec(5), systemd.service(5),
systemd.resource-control(5), sysusers.d(5).
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_agent.config import CREDENTIAL

UNIT_NAME = "paretofleet-agent.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT_NAME
SYSUSERS_FILE = Path("/etc/sysusers.d/paretofleet-agent.conf")
TOKEN_FILE = Path("/etc/paretofleet/enrol.token")
STATE_ROOT = Path("/var/lib")
DEFAULT_STATE = STATE_ROOT / "paretofleet-agent"
DEFAULT_USER = "paretofleet"
WATCHDOG_S = 600
_HIDDEN = tuple(Path(name) for name in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the unit depends on.

    ``reads`` are folders that the agent must see: its program and the images; ``writes`` those that
    it may change besides ``state``. ``state_in_unit`` says the state folder in the unit because the
    configuration does not.
    """

    command: tuple[str, ...]
    user: str
    state: Path
    state_in_unit: bool
    reads: tuple[Path, ...]
    writes: tuple[Path, ...] = ()
    ram_cap_bytes: int | None
    devices: bool


def user_trouble(user: str) -> str | None:
    """Return what is wrong with a name of a user, or None."""
    if user == "root":
        return "the agent needs no rights of root: name another --user"
    if not _USER.fullmatch(user):
        return f"{user!r} is no name of a user: small letters, digits, - and _"
    return None


def unit_text(plan: Plan) -> str:
    """Return the unit; every line is one that ``systemd-analyze verify`` knows (from 247 on)."""
    sections = (
        ("Unit", _unit_lines()),
        ("Service", (*_run_lines(plan), *_sandbox_lines(plan))),
        ("Install", (("WantedBy", "multi-user.target"),)),
    )
    parts = (
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in lines)
        for name, lines in sections
    )
    return "\n".join(parts)


def _unit_lines() -> tuple[tuple[str, str], ...]:
    return (
        ("Description", "Paretofleet agent: trains and serves visual inspection on this box"),
        ("Wants", "network-online.target"),
        ("After", "network-online.target"),
        ("StartLimitIntervalSec", "0"),
    )


def _run_lines(plan: Plan) -> tuple[tuple[str, str], ...]:
    return (
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecStart", " ".join(quoted(word, command=True) for word in plan.command)),
        ("User", plan.user),
        ("Group", plan.user),
        ("UMask", "0077"),
        *_state_lines(plan),
        ("LoadCredential", f"{CREDENTIAL}:{TOKEN_FILE}"),
        ("SetCredential", f"{CREDENTIAL}:\\n"),
        ("Restart", "always"),
        ("RestartSec", "10"),
        ("WatchdogSec", str(WATCHDOG_S)),
        ("KillMode", "mixed"),
        ("TimeoutStopSec", "60"),
        ("OOMPolicy", "continue"),
        ("Delegate", "memory"),
        ("TasksMax", "256"),
        *_memory_lines(plan),
    )


def _state_lines(plan: Plan) -> Iterable[tuple[str, str]]:
    if plan.state_in_unit:
        yield "Environment", quoted(f"PARETOFLEET_AGENT_STATE={plan.state}")
    if plan.state.parent == STATE_ROOT and _PLAIN.fullmatch(plan.state.name):
        yield "StateDirectory", plan.state.name.replace("%", "%%")
        yield "StateDirectoryMode", "0700"
    else:
        yield "ReadWritePaths", quoted(str(plan.state))
    for path in plan.writes:
        yield "ReadWritePaths", quoted(f"-{path}")


def _memory_lines(plan: Plan) -> Iterable[tuple[str, str]]:
    if plan.ram_cap_bytes is not None:
        yield "MemoryMax", str(plan.ram_cap_bytes)
        yield "MemorySwapMax", "0"


def _sandbox_lines(plan: Plan) -> tuple[tuple[str, str], ...]:
    return (
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("ProtectSystem", "strict"),
        *_home_lines(plan),
        ("PrivateTmp", "yes"),
        *_device_lines(plan),
        ("ProtectClock", "yes"),
        ("ProtectHostname", "yes"),
        ("ProtectKernelLogs", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectProc", "invisible"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
        ("RestrictNamespaces", "yes"),
        ("RestrictRealtime", "yes"),
        ("RestrictSUIDSGID", "yes"),
        ("LockPersonality", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RemoveIPC", "yes"),
        ("KeyringMode", "private"),
        ("SystemCallArchitectures", "native"),
        ("SystemCallFilter", "@system-service"),
        ("SystemCallFilter", "~@privileged"),
        ("SystemCallErrorNumber", "EPERM"),
    )


def _home_lines(plan: Plan) -> Iterable[tuple[str, str]]:
    """Hide homes and /tmp; what the agent must see in them is bound in, read-only."""
    inside = [path for path in plan.reads if any(path.is_relative_to(home) for home in _HIDDEN)]
    places = (plan.state, *plan.writes)
    open_to = [p for p in places if any(p.is_relative_to(home) for home in _HIDDEN)]
    yield "ProtectHome", "tmpfs" if inside or open_to else "yes"
    if open_to:
        yield "BindPaths", " ".join(_bound(path) for path in open_to)
    if inside:
        yield "BindReadOnlyPaths", " ".join(_bound(path) for path in inside)


def _bound(path: Path) -> str:
    """Return a path where a colon would begin its target."""
    return quoted(str(path).replace(":", "\\:"))


def _device_lines(plan: Plan) -> Iterable[tuple[str, str]]:
    if not plan.devices:
        yield "PrivateDevices", "yes"
        return
    yield "DevicePolicy", "closed"
    for group in ("char-nvidia*", "char-drm", "char-accel"):
        yield "DeviceAllow", f"{group} rw"


def quoted(text: str, *, command: bool = False) -> str:
    """Return a word as a unit holds it; ``command``: one of ExecStart, where $ is special too."""
    if not text.isprintable():
        message = f"{text!r} has characters that a unit cannot hold"
        raise ValueError(message)
    doubled = text.replace("%", "%%")
    doubled = doubled.replace("$", "$$") if command else doubled
    if _PLAIN.fullmatch(doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def sysusers_text(user: str, home: Path) -> str:
    """Return the line that makes a user who owns nothing and cannot log in."""
    return f'u {user} - "Paretofleet agent" {home} -\n'


def config_text(values: Sequence[tuple[str, Any]]) -> str:
    """Return a configuration file that holds ``values``; labels are a table at its end."""
    lines = [f"{name} = {_toml(value)}\n" for name, value in values if not isinstance(value, dict)]
    for name, value in values:
        if isinstance(value, dict) and value:
            lines.append(f"\n[{name}]\n")
            lines += [f"{_toml(key)} = {_toml(item)}\n" for key, item in value.items()]
    return "".join(lines)


def _toml(value: Any) -> str:  # noqa: ANN401 - text, number, truth or a list of them
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
