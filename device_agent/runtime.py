"""onnxruntime as a box runs it: CPU, one thread, no memory arena or pattern, no telemetry.

Importing this module loads nothing; ``open_session`` loads onnxruntime on first use.
"""

import os
from pathlib import Path
from typing import Any, Protocol

from device_agent.children import QUIET


class Session(Protocol):
    """The part of onnxruntime's session that is used here."""

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]: ...


def open_session(model: Path) -> Session:
    """Load ``model``; raises what onnxruntime raises (the caller names it)."""
    os.environ.update(QUIET)
    import onnxruntime as ort  # noqa: PLC0415 - 20 MB that an idle agent does not pay

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    session: Session = ort.InferenceSession(
        str(model), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return session
