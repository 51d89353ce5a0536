"""Reads and checks a job file. Standard library only; it opens none of the files that it names.

The types are those of ``contract.finetune.FinetuneJob``; unknown fields are errors, because the
program and whoever starts it are installed together and a typo must not become a default.
"""

import dataclasses
import json
import math
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from contract.finetune import FinetuneJob
from models.finetune.errors import BadJobError

MAX_JOB_BYTES = 4 * 1024 * 1024
# Field -> the smallest and the largest value allowed.
_RANGES: dict[str, tuple[float, float]] = {
    "input_px": (8, 1024),
    "batch": (1, 1024),
    "micro_batch": (1, 1024),
    "epochs": (1, 1000),
    "learning_rate": (1e-12, 10.0),
    "dropout": (0.0, 0.95),
    "seed": (0, 2**63 - 1),
    "threads": (1, 1024),
    "train_limit": (2, 2**31),
    "max_steps": (1, 2**31),
    "ram_cap_bytes": (2**20, 2**53),
}
_FILES = ("weights_path", "inference_path", "train_graph_path")
_OPTIONAL_FILES = ("rival_path", "rival_seen_path")
_FOLDERS = ("data_dir", "test_dir")
_MIN_CLASSES = 2
_CHANNELS = (1, 3)


def load_job(path: Path) -> FinetuneJob:
    """Return the job at ``path``; raises BadJobError, which names the field that is wrong."""
    job = _build(_read(path))
    for check in (_check_ranges, _check_lists, _check_paths):
        check(job)
    return job


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JOB_BYTES + 1)
    except OSError as error:
        raise BadJobError("(file)", f"cannot be read: {error}") from error
    if len(raw) > MAX_JOB_BYTES:
        raise BadJobError("(file)", f"is longer than {MAX_JOB_BYTES} bytes")
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadJobError("(file)", f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadJobError("(file)", "must hold one JSON object")
    return fields


def _build(fields: dict[str, Any]) -> FinetuneJob:
    hints = get_type_hints(FinetuneJob)
    for name in fields:
        if name not in hints:
            raise BadJobError(name, "is unknown")
    for field in dataclasses.fields(FinetuneJob):
        if field.name in fields:
            _check_type(field.name, fields[field.name], hints[field.name])
        elif field.default is dataclasses.MISSING:
            raise BadJobError(field.name, "is missing")
    return FinetuneJob(**fields)


def _check_type(name: str, value: object, hint: Any) -> None:  # noqa: ANN401 - a type form
    if not _matches(value, hint):
        wanted = getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
        raise BadJobError(name, f"must be {wanted}, not {type(value).__name__}")


def _matches(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type form
    options = get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_matches(v, options[0]) for v in value)
    if options and all(isinstance(option, str) for option in options):
        return value in options
    if options:
        return any(_matches(value, option) for option in options)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is NoneType:
        return value is None
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _check_ranges(job: FinetuneJob) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(job, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise BadJobError(name, f"must lie between {low:g} and {high:g}, not {value}")
    if job.in_channels not in _CHANNELS:
        raise BadJobError("in_channels", "must be 1 (grey) or 3 (colour)")
    if job.micro_batch > job.batch:
        raise BadJobError("micro_batch", f"must not exceed batch ({job.batch})")


def _check_lists(job: FinetuneJob) -> None:
    if len(job.classes) < _MIN_CLASSES or len(set(job.classes)) != len(job.classes):
        raise BadJobError("classes", "must name two or more different classes")
    if any(not c or "/" in c or "\0" in c or c in {".", ".."} for c in job.classes):
        raise BadJobError("classes", "must hold plain folder names")
    if not job.trainable:
        raise BadJobError("trainable", "must name at least one parameter")
    names = [*job.trainable, *job.frozen]
    if len(set(names)) != len(names):
        raise BadJobError("trainable", "and 'frozen' must not name a parameter twice")


def _check_paths(job: FinetuneJob) -> None:
    for name in (*_FILES, *_OPTIONAL_FILES, *_FOLDERS, "output_dir"):
        value = getattr(job, name)
        if value is not None and ("\0" in value or not Path(value).is_absolute()):
            raise BadJobError(name, f"must be an absolute path, not {value!r}")
    for name in (*_FILES, *_OPTIONAL_FILES):
        value = getattr(job, name)
        if value is not None and not Path(value).is_file():
            raise BadJobError(name, f"names no file: {value}")
    for name in _FOLDERS:
        value = getattr(job, name)
        if value is not None and not Path(value).is_dir():
            raise BadJobError(name, f"names no folder: {value}")
