"""Bounds on the child that tries a model: one that eats memory ends the child alone."""

import contextlib
import resource
from pathlib import Path

TRIAL_BYTES = 1 << 30


def bound_trial() -> None:
    """Let this process reserve a gigabyte, and offer it first when the box runs out of memory.

    A model of the catalogue takes a tenth of that for one image.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = TRIAL_BYTES if hard == resource.RLIM_INFINITY else min(TRIAL_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
