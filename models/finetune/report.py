"""Progress lines on standard output, and the result as far as it is known.

One ``Recorder`` per run collects figures as they appear, so that a run that ends badly still
reports what it had. It decides nothing and measures only time and memory.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, Literal, TextIO

from contract.finetune import RESULT_FILE, FinetuneProgress, FinetuneResult
from models.finetune.checkpoint import Counters
from models.finetune.files import write_bytes
from models.finetune.memory import MemoryGuard

Event = Literal["load", "step", "epoch", "evaluate", "done", "error"]
Status = Literal["done", "bad_input", "over_cap", "diverged", "disk_full"]


class Recorder:
    """``doing`` is what the run is busy with, for error messages."""

    def __init__(self, job_id: str, guard: MemoryGuard, stream: TextIO = sys.stdout) -> None:
        self._guard = guard
        self._stream = stream
        self._started = time.perf_counter()
        self._earlier = Counters()
        self._steps_done = 0
        self.total_steps = 0
        self.doing = "loading"
        self.result = FinetuneResult(job_id=job_id, status="done", reason="")

    def note(self, **figures: Any) -> None:  # noqa: ANN401 - fields of FinetuneResult
        """Put ``figures`` into the result."""
        self.result = dataclasses.replace(self.result, **figures)

    def resumed_from(self, counters: Counters) -> None:
        """Count the time and the peaks of the processes that came before this one."""
        self._earlier = counters

    def say(self, event: Event, *, done: int | None = None, text: str = "", **more: float) -> None:
        """Write one progress line and flush it."""
        if done is not None:
            self._steps_done = done
        line = FinetuneProgress(
            event=event,
            done=self._steps_done,
            total=self.total_steps,
            rss_bytes=self._guard.follow(self.doing).rss_bytes if event != "error" else None,
            text=text,
            **more,
        )
        json.dump(dataclasses.asdict(line), self._stream, allow_nan=False)
        self._stream.write("\n")
        self._stream.flush()

    def used(self) -> dict[str, Any]:
        """Return seconds and peaks so far, of this process and of those that it resumed."""
        peak, anonymous = self._guard.peaks()
        earlier = self._earlier
        return {
            "seconds": earlier.seconds + time.perf_counter() - self._started,
            "cpu_seconds": earlier.cpu_seconds + time.process_time(),
            "peak_rss_bytes": max(earlier.peak_rss_bytes, peak),
            "peak_anonymous_bytes": max(earlier.peak_anonymous_bytes, anonymous),
        }

    def finish(self, folder: Path, status: Status, reason: str) -> None:
        """Write the result file; raises DiskFullError and BadInputError."""
        used = self.used()
        floor = self._guard.floor_bytes
        self.note(
            status=status,
            reason=reason,
            floor_bytes=floor,
            workload_bytes=max(0, used["peak_rss_bytes"] - floor),
            cap_kinds=list(self._guard.cap_kinds),
            **used,
        )
        text = json.dumps(dataclasses.asdict(self.result), indent=1, allow_nan=False)
        write_bytes(folder / RESULT_FILE, text.encode())
