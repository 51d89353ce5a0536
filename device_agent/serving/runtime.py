"""onnxruntime as a box runs it: no memory arena or pattern, no telemetry, threads as told.

Importing this module loads nothing; ``open_session`` loads onnxruntime on first use. Which provider
and how many threads are right for a box is decided in ``providers``.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import structlog

from device_agent.errors import AgentError
from device_agent.training.children import QUIET

log = structlog.get_logger()
CPU = "CPUExecutionProvider"


class Session(Protocol):
    """The part of onnxruntime's session that is used here."""

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]: ...


class ProviderAwayError(AgentError):
    """onnxruntime has no such provider, or opened the model without it."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"onnxruntime does not run on {provider}; is its driver installed?")


def open_session(model: Path, threads: int = 1, provider: str = CPU) -> Session:
    """Load ``model``; raises what onnxruntime raises (the caller names it) or ProviderAwayError.

    ``threads`` work on one image. They sleep between two operators instead of spinning: spinning
    doubled the processor time of an image and brought nothing.
    """
    os.environ.update(QUIET)
    import onnxruntime as ort  # noqa: PLC0415 - 20 MB that an idle agent does not pay

    if provider not in ort.get_available_providers():
        raise ProviderAwayError(provider)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [CPU] if provider == CPU else [provider, CPU]
    session = ort.InferenceSession(str(model), sess_options=options, providers=providers)
    if session.get_providers()[0] != provider:
        raise ProviderAwayError(provider)
    taken: Session = session
    return taken


class FallingBackSession:
    """An accelerator's session that gives way to the CPU for good when it fails. Thread-safe."""

    def __init__(self, session: Session, open_cpu: Callable[[], Session], provider: str) -> None:
        self._session = session
        self._open_cpu = open_cpu
        self._provider = provider
        self._cpu: Session | None = None
        self._lock = threading.Lock()

    @property
    def is_accelerated(self) -> bool:
        return self._cpu is None

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        session = self._session
        try:
            return session.run(outputs, feeds)
        except Exception as exc:
            if session is self._cpu:
                raise
            return self._give_way(exc).run(outputs, feeds)

    def _give_way(self, exc: Exception) -> Session:
        with self._lock:
            if self._cpu is None:
                log.warning("provider_failed", provider=self._provider, reason=str(exc)[:300])
                self._cpu = self._session = self._open_cpu()
            return self._cpu
