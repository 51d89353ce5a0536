"""The strongest outer cap that this box offers for one child, and what it says afterwards.

A control group of our own where one is writable, else a systemd scope, else none: the limit that
the child sets on itself and the watchdog hold in every case.
"""

import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

from device_agent.training.cgroup import CapGroup, make_cap_group
from device_agent.training.scope import SYSTEMD_SCOPE, FindScopes

GROUP_PREFIX = "paretofleet-"
# A scope is gone before its counters can be read: so near its cap, a kill was the cap's.
_NEARLY = 0.9


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What holds one child. ``prefix`` goes before its command; ``kind`` is None for nothing."""

    kind: str | None = None
    group: CapGroup | None = None
    prefix: tuple[str, ...] = ()

    @property
    def procs(self) -> str:
        """The file by which a process joins; ``-`` where there is none."""
        return "-" if self.group is None else str(self.group.procs)

    def ended_it(self, returncode: int, peak_bytes: int, cap_bytes: int) -> bool:
        """Return whether the cap was what ended the child."""
        if self.group is not None:
            return self.group.killed_for_memory()
        near = peak_bytes >= _NEARLY * cap_bytes
        return self.kind == SYSTEMD_SCOPE and returncode == -signal.SIGKILL and near

    def kill(self) -> None:
        if self.group is not None:
            self.group.kill()

    def remove(self) -> None:
        if self.group is not None:
            self.group.remove()


UNCONFINED = Confinement()


def confine(limit_bytes: int, root: Path, find_scopes: FindScopes) -> Confinement:
    """Return the confinement for a new child of ours; never fails."""
    name = f"{GROUP_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    group = make_cap_group(limit_bytes, name, root)
    if group is not None:
        return Confinement(kind=f"cgroup_v{group.version}", group=group)
    scopes = find_scopes()
    if scopes is None:
        return UNCONFINED
    return Confinement(kind=SYSTEMD_SCOPE, prefix=scopes.command(f"{name}.scope", limit_bytes))
