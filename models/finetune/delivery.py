"""Puts trained parameters into the inference graph, proves that it agrees, and times it.

The file is replaced only by a model whose logits agree with the training graph's. It decides
nothing about accuracy.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.finetune.batches import Pixels
from models.finetune.errors import BadInputError, ModelsDisagreeError
from models.finetune.evaluation import Predict
from models.finetune.parameters import Floats
from models.finetune.session import IMAGES, LOGITS, open_session
from models.onnx_bytes import (
    MalformedModelError,
    MissingTensorError,
    TensorMismatchError,
    replace_initializers,
)

MAX_LOGIT_DIFFERENCE = 1e-4

_LATENCY_RUNS, _WARM_UP_RUNS = 30, 3


def write_model(inference: Path, parameters: Mapping[str, Floats], target: Path) -> None:
    """Write ``inference`` with ``parameters`` in it to ``target``, which nobody uses yet.

    Raises BadInputError when the graph does not hold these parameters.
    """
    try:
        content = replace_initializers(inference.read_bytes(), parameters)
    except (MissingTensorError, TensorMismatchError, MalformedModelError) as error:
        raise BadInputError(f"{inference}: {error}; fetch the variant again") from error
    with target.open("wb") as file:
        file.write(content)


def predictor(model: Path, threads: int, *, arena: bool) -> Predict:
    """Return a function from images [n, px, px, c] to logits [n, k]; raises BadInputError."""
    session = open_session(str(model), threads, arena=arena)

    def predict(images: Pixels) -> Floats:
        return np.asarray(session.run([LOGITS], {IMAGES: images})[0], np.float32)

    return predict


def require_agreement(inference: Floats, training: Floats) -> None:
    """Raise ModelsDisagreeError unless logits [n, k] agree within 1e-4 of their size."""
    allowed = MAX_LOGIT_DIFFERENCE * np.maximum(1.0, np.abs(training))
    difference = np.abs(inference - training)
    if not (difference <= allowed).all():
        raise ModelsDisagreeError(float(difference.max()), MAX_LOGIT_DIFFERENCE)


def latency_ms(predict: Predict, image: Pixels) -> float:
    """Return the median time of one image [1, px, px, c] after a warm-up."""
    times = []
    for _ in range(_WARM_UP_RUNS + _LATENCY_RUNS):
        started = time.perf_counter()
        predict(image)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times[_WARM_UP_RUNS:])
