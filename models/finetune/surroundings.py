"""What a run reports to, saves to, is bounded by and is stopped by, in one value."""

from collections.abc import Callable
from dataclasses import dataclass

from models.finetune.checkpoint import CheckpointStore
from models.finetune.errors import StoppedError
from models.finetune.memory import MemoryGuard
from models.finetune.report import Recorder


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Passed down to whatever takes long; ``check`` is called between its smallest pieces.

    ``frugal``: train without onnxruntime's arena, which is slower and takes less memory.
    """

    recorder: Recorder
    guard: MemoryGuard
    checkpoints: CheckpointStore
    stop_requested: Callable[[], bool]
    frugal: bool

    def check(self) -> None:
        """Raise StoppedError after SIGTERM, OverCapError above the cap; else note the memory."""
        if self.stop_requested():
            raise StoppedError
        self.guard.follow(self.recorder.doing)
