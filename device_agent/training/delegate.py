"""Makes room for the trainer's own memory group beneath the systemd service, under cgroup v2.

Version 2 gives controllers only to the sub-groups of a group without processes of its own. So the
agent moves itself into a leaf of the service's delegated group (``Delegate=memory`` in the unit)
and hands the memory controller down; ``training.cgroup`` then makes the trainer's group beside
the leaf. The service's own limit goes on holding for both. Source: the kernel's cgroup-v2.rst, "No
Internal Process Constraint", and systemd's CGROUP_DELEGATION.md.
"""

import os
from pathlib import Path

from device_agent.service.unit import UNIT_NAME
from device_agent.training.cgroup import AGENT_LEAF, memory_groups


def take_leaf(root: Path = Path("/")) -> bool:
    """Move this process into the leaf; False where it does not run as our service under v2.

    Nothing is touched outside the service's own group, and doing it twice does no harm.
    """
    group = next((g for g in memory_groups(root) if g.version == 2), None)  # noqa: PLR2004 - a version
    if group is None or group.folder.name != UNIT_NAME:
        return False
    leaf = group.folder / AGENT_LEAF
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        (group.folder / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    except OSError:
        return False
    return True
