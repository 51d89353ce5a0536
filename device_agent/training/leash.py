"""Starts a trainer on a leash: ``python -m device_agent.training.leash PARENT PROCS COMMAND...``.

Run between fork and exec, in a process of its own because a threaded agent must not run Python in
a forked copy of itself. It joins the control group whose ``cgroup.procs`` is PROCS (``-``: none),
asks the kernel to kill it when the agent dies, offers itself first to the kernel's out-of-memory
killer, gives way to inference, then becomes COMMAND. Standard library only.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_NICENESS = 5
LEASH_FAILED = 125


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(LEASH_FAILED)


def main(arguments: list[str]) -> None:
    """Never returns: becomes the command or exits 125."""
    parent, procs, *command = arguments
    _die_with_parent(int(parent))
    if procs != "-":
        Path(procs).write_text(str(os.getpid()), encoding="ascii")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        os.nice(_NICENESS)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the very point of this program
    except OSError as exc:
        sys.stderr.write(f"cannot start {command[0]}: {exc.strerror}\n")
        sys.exit(LEASH_FAILED)


if __name__ == "__main__":
    main(sys.argv[1:])
