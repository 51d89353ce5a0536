"""Logits of stored images, a micro-batch at a time, and what they say. It trains nothing."""

from collections.abc import Callable

import numpy as np

from models.finetune.batches import Indices, Pixels
from models.finetune.errors import DivergedError
from models.finetune.parameters import Floats
from models.finetune.pixels import PixelStore
from models.metrics import balanced_accuracy, predictions

Predict = Callable[[Pixels], Floats]


def logits_of(
    predict: Predict,
    store: PixelStore,
    rows: Indices,
    *,
    micro_batch: int,
    check: Callable[[], None],
) -> Floats:
    """Return the logits [n, k] of the images at ``rows`` (at least one), in that order.

    ``check`` is called after every micro-batch and may raise to end the run.
    """
    found = []
    for at in range(0, rows.size, micro_batch):
        found.append(predict(store.read(rows[at : at + micro_batch])))
        check()
    return np.concatenate(found)


def validation_score(labels: Indices, logits: Floats, step: int) -> float:
    """Return the balanced accuracy of finite ``logits``; raises DivergedError."""
    if not np.isfinite(logits).all():
        raise DivergedError("validation output", step)
    return balanced_accuracy(labels, predictions(logits))
