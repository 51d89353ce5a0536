"""Which kinds of memory cap this box offers, found by trying."""

import os
import uuid
from pathlib import Path

from device_agent.caps import RLIMIT, WATCHDOG
from device_agent.cgroup import make_cap_group
from device_agent.trainer import GROUP_PREFIX

_ANY_LIMIT_BYTES = 1 << 28


def probe_cap_kinds(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the kinds in force for a trainer here, strongest first."""
    name = f"{GROUP_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    group = make_cap_group(_ANY_LIMIT_BYTES, name, root)
    if group is None:
        return (RLIMIT, WATCHDOG)
    group.remove()
    return (f"cgroup_v{group.version}", RLIMIT, WATCHDOG)
