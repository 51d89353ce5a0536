"""What people see: a progress bar on a terminal, log lines elsewhere, or JSON lines when asked.

All three say how long it still takes.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from contract.finetune import FinetuneProgress
from contract.inference import Prediction
from device_agent.sizes import format_size

log = structlog.get_logger()
OnProgress = Callable[[FinetuneProgress], None]


def progress_writer(*, as_json: bool) -> OnProgress:
    """Return what is called with every progress line of the trainer."""
    if as_json:
        return JsonLines()
    return ProgressBar() if sys.stderr.isatty() else LogLines()


class TimeLeft:
    """Estimates the seconds left from the pace since the count began, or began anew."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._phase: str | None = None
        self._start_s = 0.0
        self._first = 0

    def after(self, done: int, total: int, phase: str = "") -> float | None:
        """Return the seconds left once ``done`` of ``total`` are done; None before any pace."""
        now_s = self._monotonic()
        if phase != self._phase or done < self._first:
            self._phase, self._start_s, self._first = phase, now_s, done
        made = done - self._first
        if made <= 0:
            return None
        return max(total - done, 0) * (now_s - self._start_s) / made


def phase_of(progress: FinetuneProgress) -> str:
    """Return what is being counted: images that are read, or steps."""
    return "load" if progress.event == "load" else "train"


class JsonLines:
    """Writes every line on standard output, with ``left_s``."""

    def __init__(self) -> None:
        self._left = TimeLeft()

    def __call__(self, progress: FinetuneProgress) -> None:
        facts = dataclasses.asdict(progress)
        facts["left_s"] = _rounded(
            self._left.after(progress.done, progress.total, phase_of(progress))
        )
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()


class LogLines:
    """Logs every line but single steps, with ``left_s`` where it is known."""

    def __init__(self) -> None:
        self._left = TimeLeft()

    def __call__(self, progress: FinetuneProgress) -> None:
        left_s = _rounded(self._left.after(progress.done, progress.total, phase_of(progress)))
        if progress.event == "step":
            return
        facts = {**dataclasses.asdict(progress), "left_s": left_s}
        what = facts.pop("event")
        said = {key: value for key, value in facts.items() if value not in (None, "")}
        log.info("trainer_progress", what=what, **said)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


class ProgressBar:
    """A rich bar on standard error; rich is loaded with the first line."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._phase = ""

    def __call__(self, progress: FinetuneProgress) -> None:
        if self._bar is None:
            self._bar, self._task = _open_bar()
        memory = format_size(progress.rss_bytes) if progress.rss_bytes else ""
        loss = f"loss {progress.loss:.3f}" if progress.loss is not None else ""
        words = " ".join(w for w in (progress.event, loss, memory) if w)
        total = max(progress.total, 1)
        if phase_of(progress) != self._phase:
            self._phase = phase_of(progress)
            self._bar.reset(self._task)
        self._bar.update(self._task, completed=progress.done, total=total, description=words)
        if progress.event in {"done", "error"}:
            self._bar.stop()
            self._bar = None


def _open_bar(total: int | None = None, what: str = "training") -> tuple[Any, Any]:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.start()
    return bar, bar.add_task(what, total=total)


Advance = Callable[[int], None]


@contextmanager
def progress(total: int | None, what: str) -> Iterator[Advance]:
    """Show ``what`` as a bar with the time left; call what it yields with the number done.

    A bar on standard error of a terminal; nothing at all elsewhere, so that ``--json``, logs and
    pipes stay clean: ``with progress(len(files), "images") as advance: ... advance(1)``.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    bar, task = _open_bar(total, what)
    try:
        yield lambda done: bar.advance(task, done)
    finally:
        bar.stop()


def print_status(facts: dict[str, Any]) -> None:
    """Print the status as a table of two columns."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), escape_markup(_words(value)))
    Console().print(table)


def print_columns(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header in columns that line up; nothing is cut."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415

    table = Table(*header, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(escape_markup(_words(cell)) for cell in row))
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else 4096).print(table)


def escape_markup(text: str) -> str:
    """Return text that rich prints as it stands."""
    from rich.markup import escape  # noqa: PLC0415 - only for people

    return escape(text)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def print_prediction(prediction: Prediction) -> None:
    """Print one line such as ``defect 97.1 % (xcep-s, release 1, device, 3.1 ms)``."""
    share = prediction.probabilities[prediction.label]
    sys.stdout.write(
        f"{prediction.label} {share:.1%} ({prediction.variant}, release "
        f"{prediction.release_number}, {prediction.source}, {prediction.latency_ms:.1f} ms)\n"
    )
