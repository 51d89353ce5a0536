"""The environment that every child of the agent starts with."""

import os
from collections.abc import Mapping

QUIET = {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def quiet_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return ``base`` (this process's environment) with one thread and no telemetry.

    onnxruntime from 1.29 on reports to its makers from official Linux builds unless this variable
    is set before it is loaded (its Privacy.md); a box on a factory line talks to its own server
    alone. Without it every process also leaves an SQLite file in the user's cache.
    """
    return {**(os.environ if base is None else base), **QUIET}
