"""Holds a trained model against the one in use, on images that neither was trained on.

The test part of a job is new to the model that the job trained, but not to a rival that was trained
on an earlier state of the same folder: what it saw then would flatter it. So every job leaves a
list of the images that it trained or chose its checkpoint by (``SEEN_FILE``, digests of pixels at
the job's size and channels), and a rival is scored on the test images that its own list lacks.
Where those leave a class without an image, on all test images: that can only favour the rival.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from contract.finetune import MODEL_FILE, SEEN_FILE, FinetuneJob
from models.finetune.batches import Indices
from models.finetune.dataset import Dataset
from models.finetune.delivery import predictor
from models.finetune.evaluation import logits_of
from models.finetune.files import write_bytes
from models.finetune.surroundings import Surroundings
from models.metrics import balanced_accuracy_interval, predictions

_DIGEST_BYTES = 16
_MOST_SEEN_BYTES = 64 * 1024 * 1024


def write_seen(job: FinetuneJob, dataset: Dataset) -> None:
    """Write which images the job's model has learnt from; raises DiskFullError."""
    rows = np.concatenate([dataset.train, dataset.validation])
    lines = sorted(_digest(dataset, int(row)) for row in rows)
    write_bytes(Path(job.output_dir) / SEEN_FILE, "".join(f"{x}\n" for x in lines).encode())


def rival_figures(job: FinetuneJob, dataset: Dataset, around: Surroundings) -> dict[str, Any]:
    """Return what the rival and the delivered model score on the same images; {} without a rival.

    Raises BadInputError when the rival cannot be run.
    """
    if job.rival_path is None:
        return {}
    around.recorder.doing = "scoring the model in use"
    rows = _unseen(job, dataset)
    rival = _score(job, dataset, Path(job.rival_path), rows, around)
    ours = _score(job, dataset, Path(job.output_dir) / MODEL_FILE, rows, around)
    around.recorder.say("evaluate", text=f"the model in use: {rival:.4f}, the new one: {ours:.4f}")
    return {
        "balanced_accuracy_rival": rival,
        "balanced_accuracy_against_rival": ours,
        "n_rival": int(rows.size),
    }


def _unseen(job: FinetuneJob, dataset: Dataset) -> Indices:
    seen = _read_seen(job.rival_seen_path)
    fresh = [row for row in dataset.test.tolist() if _digest(dataset, row) not in seen]
    classes = {int(dataset.labels[row]) for row in fresh}
    return np.array(fresh, np.int64) if len(classes) == len(job.classes) else dataset.test


def _read_seen(path: str | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    with Path(path).open("rb") as file:
        return frozenset(file.read(_MOST_SEEN_BYTES).decode("ascii", "replace").split())


def _digest(dataset: Dataset, row: int) -> str:
    pixels = dataset.store.read(np.array([row]))
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[: 2 * _DIGEST_BYTES]


def _score(
    job: FinetuneJob, dataset: Dataset, model: Path, rows: Indices, around: Surroundings
) -> float:
    predict = predictor(model, job.threads, arena=True)
    logits = logits_of(predict, dataset.store, rows, micro_batch=1, check=around.check)
    classes = predictions(logits)
    return balanced_accuracy_interval(dataset.labels[rows], classes, len(job.classes)).value
