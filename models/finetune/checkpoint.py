"""Checkpoints: what a killed run needs to go on as if nothing had happened.

Two safetensors files beside each other. ``checkpoint.safetensors`` holds parameters, optimiser
state and counters after a whole epoch; ``best.safetensors`` the parameters of the best epoch, on
disk so that they cost no memory. The best file is written first: if the run dies in between, the
epoch is repeated, and being deterministic it writes the same best file again.

A file of another job, or one whose content does not match its digest, counts as absent.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.finetune import CHECKPOINT_FILE
from models.finetune.files import write_whole
from models.finetune.parameters import Floats
from models.finetune.tensors import (
    UnreadableTensorsError,
    read_header,
    read_tensors,
    write_tensors,
)

BEST_FILE = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Where a run stands after ``epoch`` whole epochs. Seconds and peaks cover all its processes.

    ``best_epoch`` 0 stands for the weights as they came.
    """

    epoch: int = 0
    steps: int = 0
    optimiser_steps: int = 0
    images_trained: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    finished: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    train_seconds: float = 0.0
    peak_rss_bytes: int = 0
    peak_anonymous_bytes: int = 0


class CheckpointStore:
    """The two files of one output folder, for the job that ``fingerprint`` names."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / CHECKPOINT_FILE
        self._best_path = folder / BEST_FILE
        self._fingerprint = fingerprint

    def save(self, counters: Counters, vectors: dict[str, Floats]) -> None:
        """Replace the checkpoint; raises DiskFullError and keeps the old one."""
        _save(self._path, self._fingerprint, asdict(counters), vectors)

    def save_best(self, epoch: int, parameters: Floats) -> None:
        """Replace the best parameters; raises DiskFullError and keeps the old ones."""
        _save(self._best_path, self._fingerprint, {"epoch": epoch}, {"parameters": parameters})

    def counters(self) -> Counters | None:
        """Return the counters of this job's checkpoint, or None; reads no tensors."""
        header = _header(self._path, self._fingerprint)
        return None if header is None else Counters(**header)

    def load(self, into: dict[str, Floats]) -> Counters | None:
        """Fill ``into`` from this job's checkpoint; None, and ``into`` untouched, without one."""
        header = _load(self._path, self._fingerprint, into)
        return None if header is None else Counters(**header)

    def load_best(self, epoch: int, into: Floats) -> bool:
        """Fill ``into`` with the best parameters if they are those of ``epoch``."""
        header = _header(self._best_path, self._fingerprint)
        if header is None or header["epoch"] != epoch:
            return False
        return _load(self._best_path, self._fingerprint, {"parameters": into}) is not None


def _save(path: Path, fingerprint: str, header: dict[str, Any], vectors: dict[str, Floats]) -> None:
    text = json.dumps(header, sort_keys=True)
    metadata = {
        "header": text,
        "header_digest": _text_digest(fingerprint, text),
        "digest": _digest(vectors),
    }

    write_whole(path, lambda temporary: write_tensors(temporary, vectors, metadata))


def _header(path: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        metadata = read_header(path).metadata
    except UnreadableTensorsError:
        return None
    text = metadata.get("header", "")
    if metadata.get("header_digest") != _text_digest(fingerprint, text):
        return None
    header: dict[str, Any] = json.loads(text)
    return header


def _load(path: Path, fingerprint: str, into: dict[str, Floats]) -> dict[str, Any] | None:
    header = _header(path, fingerprint)
    if header is None:
        return None
    try:
        digest = read_header(path).metadata.get("digest")
        found = read_tensors(path, into)
    except UnreadableTensorsError:
        return None
    if digest != _digest(found) or any(found[n].shape != into[n].shape for n in into):
        return None
    for name, vector in into.items():
        np.copyto(vector, found[name])
    return header


def _text_digest(fingerprint: str, header: str) -> str:
    return hashlib.sha256(f"{fingerprint}\n{header}".encode()).hexdigest()


def _digest(vectors: dict[str, Floats]) -> str:
    digest = hashlib.sha256()
    for name in sorted(vectors):
        digest.update(name.encode())
        digest.update(vectors[name].data)
    return digest.hexdigest()
