"""Caps through ``systemd-run --scope``, for boxes whose control groups only systemd may make.

Whether it works is found by running a small program in a scope and asking what limit it sees; an
answer that does not come soon is a no. The scope becomes the trainer itself (systemd-run execs
it), so session, signals and the leash go on holding.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from device_agent.training.children import quiet_environment

SYSTEMD_SCOPE = "systemd_scope"
_PROGRAM = "systemd-run"
_ANSWER_S = 3.0
_TRIAL_BYTES = 192 << 20
_SEEN_LIMIT = (
    "import sys; from pathlib import Path; "
    "from device_agent.training.cgroup import cgroup_limit_bytes; "
    "print(cgroup_limit_bytes(Path(sys.argv[1])))"
)


@dataclass(frozen=True)
class Scopes:
    """How scopes are made here; ``manager`` is ``--system`` or ``--user``."""

    program: str
    manager: str

    def command(self, unit: str, limit_bytes: int) -> tuple[str, ...]:
        """Return what to put before a command; it runs in the scope ``unit`` then."""
        limits = ("--property", f"MemoryMax={limit_bytes}", "--property", "MemorySwapMax=0")
        options = (self.manager, "--scope", "--quiet", "--collect", "--no-ask-password")
        return (self.program, *options, f"--unit={unit}", *limits, "--")


FindScopes = Callable[[], Scopes | None]


def try_scopes(
    program: str, root: Path = Path("/"), *, timeout_s: float = _ANSWER_S
) -> Scopes | None:
    """Return what works with this ``program``, system manager first; None where nothing does."""
    path = shutil.which(program)
    if path is None:
        return None
    managers = ("--system", "--user") if os.geteuid() == 0 else ("--user", "--system")
    for manager in managers:
        scopes = Scopes(path, manager)
        if _holds(scopes, root, timeout_s):
            return scopes
    return None


def _holds(scopes: Scopes, root: Path, timeout_s: float) -> bool:
    """Whether a program in a scope sees the limit that was asked for."""
    unit = f"paretofleet-trial-{os.getpid()}.scope"
    looker = (sys.executable, "-S", "-c", _SEEN_LIMIT, str(root))
    try:
        done = subprocess.run(  # noqa: S603 - systemd's own program, found on PATH
            [*scopes.command(unit, _TRIAL_BYTES), *looker],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**quiet_environment(), "PYTHONPATH": _here()},
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == str(_TRIAL_BYTES).encode()


def _here() -> str:
    return str(Path(__file__).resolve().parents[2])


@cache
def find_scopes() -> Scopes | None:
    """Return how scopes are made on this box, found once in the life of the process."""
    return try_scopes(_PROGRAM)
