"""What people see: a progress bar on a terminal, log lines elsewhere, or JSON lines when asked."""

import dataclasses
import json
import sys
from collections.abc import Callable
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
        return _write_json
    return ProgressBar() if sys.stderr.isatty() else _write_log


def _write_json(progress: FinetuneProgress) -> None:
    sys.stdout.write(json.dumps(dataclasses.asdict(progress)) + "\n")
    sys.stdout.flush()


def _write_log(progress: FinetuneProgress) -> None:
    if progress.event == "step":
        return
    facts = dataclasses.asdict(progress)
    what = facts.pop("event")
    said = {key: value for key, value in facts.items() if value not in (None, "")}
    log.info("trainer_progress", what=what, **said)


class ProgressBar:
    """A rich bar on standard error; rich is loaded with the first line."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, progress: FinetuneProgress) -> None:
        if self._bar is None:
            self._bar, self._task = _open_bar()
        memory = format_size(progress.rss_bytes) if progress.rss_bytes else ""
        loss = f"loss {progress.loss:.3f}" if progress.loss is not None else ""
        words = " ".join(w for w in (progress.event, loss, memory) if w)
        total = max(progress.total, 1)
        self._bar.update(self._task, completed=progress.done, total=total, description=words)
        if progress.event in {"done", "error"}:
            self._bar.stop()
            self._bar = None


def _open_bar() -> tuple[Any, Any]:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.start()
    return bar, bar.add_task("training", total=None)


def print_status(facts: dict[str, Any]) -> None:
    """Print the status as a table of two columns."""
    from rich.console import Console  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), _words(value))
    Console().print(table)


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
