"""Logits of stored images, a micro-batch at a time, and what they say. It trains nothing."""

from collections.abc import Callable

import numpy as np

from contract.finetune import Score
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


def scores(labels: Indices, logits: Floats) -> list[Score]:
    """Return for each image its class, the predicted class and that class's probability.

    ``labels`` [n], ``logits`` [n, k]; a single logit speaks for the second class. Images whose
    logits are not finite are left out: a box takes such an answer for a failure, not for a guess.
    """
    finite = np.isfinite(logits).all(axis=1)
    values = logits[finite].astype(np.float64)
    if values.shape[1] == 1:
        values = np.concatenate([np.zeros_like(values), values], axis=1)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    sure = powers.max(axis=1) / powers.sum(axis=1)
    chosen = predictions(logits[finite])
    return list(zip(labels[finite].tolist(), chosen.tolist(), sure.tolist(), strict=True))
