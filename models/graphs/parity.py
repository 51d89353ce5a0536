"""Compares the graphs with torch: logits and features, and one step's loss and gradients.

The yardstick is torch in float64. A value may differ from it by a small floor, or by a few times
what torch in float32 differs. A ReLU or a maximum may tip over by rounding alone and move
a gradient visibly; that is luck of the images, so a step is tried on other images before it is
refused. Differences are relative to the largest number of the value compared.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor
from torch.nn import functional as F

from models.graphs.errors import ExportDisagreesError
from models.graphs.layers import DROPOUT_MASK
from models.graphs.loss import LABELS, LOSS, WEIGHTS
from models.graphs.training import FEATURES, IMAGES, LOGITS, state_tensors
from models.networks import Network
from models.onnx_bytes import with_initializers

Values = dict[str, np.ndarray]

OUTPUT_TOLERANCE = 1e-4
STEP_FLOOR = 1e-4
STEP_FACTOR = 5.0
_IMAGES = 3
_ATTEMPTS = 3
# A gradient this much smaller than the largest one is compared on the scale of that.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True, kw_only=True)
class StepReference:
    """One training step: what went in, and what came out of torch in float64 and float32."""

    feeds: Values
    exact: Values
    rounded: Values


def check_inference(network: Network, model: bytes, *, seed: int = 0) -> float:
    """Return the largest difference of logits and features; raise ExportDisagreesError."""
    images = _random_images(network, seed)
    still = copy.deepcopy(network).cpu().eval()
    with torch.inference_mode():
        features = still.forward_features(_scaled(images, torch.float32))
        expected = {
            FEATURES: features.numpy(force=True),
            LOGITS: still.forward_head(features).numpy(force=True),
        }
    names = list(expected)
    found = dict(zip(names, run(model, names, {IMAGES: images}), strict=True))
    differences = {name: _difference(found[name], expected[name]) for name in names}
    return _largest(differences, dict.fromkeys(names, OUTPUT_TOLERANCE))


def references(network: Network) -> tuple[StepReference, ...]:
    """Return one training step on each of several sets of random images, for every cut to use."""
    return tuple(_reference(network, seed) for seed in range(_ATTEMPTS))


def check_step(
    network: Network,
    skeleton: bytes,
    trainable: tuple[str, ...],
    references_: Sequence[StepReference],
) -> float:
    """Return the largest difference of one step's loss, logits and gradients.

    Raises ExportDisagreesError, naming the value, when it is too large on every set of images.
    """
    tensors = state_tensors(network)
    trained = {name: tensors.pop(name) for name in trainable}
    model = with_initializers(skeleton, tensors)
    failure: ExportDisagreesError | None = None
    for reference in references_:
        try:
            return _compare(model, trained, reference)
        except ExportDisagreesError as error:
            failure = failure or error
    assert failure is not None  # noqa: S101  # there is at least one reference
    raise failure


def run(model: bytes, outputs: list[str], feeds: Values) -> list[np.ndarray]:
    """Run a model once on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(outputs, feeds)]


def _compare(model: bytes, trained: Values, reference: StepReference) -> float:
    names = [LOSS, LOGITS, *(f"grad.{name}" for name in trained)]
    found = dict(zip(names, run(model, names, reference.feeds | trained), strict=True))
    scale = max(float(np.abs(reference.exact[name]).max()) for name in names[2:])
    least = scale * _NEGLIGIBLE
    differences = {name: _difference(found[name], reference.exact[name], least) for name in names}
    allowed = {
        name: max(
            STEP_FLOOR,
            STEP_FACTOR * _difference(reference.rounded[name], reference.exact[name], least),
        )
        for name in names
    }
    return _largest(differences, allowed)


def _largest(differences: dict[str, float], allowed: dict[str, float]) -> float:
    for name, difference in differences.items():
        if not difference <= allowed[name]:  # NaN must not pass
            raise ExportDisagreesError(name, difference, allowed[name])
    return max(differences.values())


def _difference(found: np.ndarray, expected: np.ndarray, least: float = 1e-30) -> float:
    scale = max(float(np.abs(expected).max()), least)
    return float(np.abs(found.astype(np.float64) - expected).max()) / scale


def _reference(network: Network, seed: int) -> StepReference:
    generator = np.random.default_rng(seed)
    units = network.spec.head_units
    weights = generator.uniform(0.5, 1.5, _IMAGES).astype(np.float32)
    feeds: Values = {
        IMAGES: _random_images(network, seed),
        LABELS: generator.integers(0, max(2, units), _IMAGES),
        WEIGHTS: weights / weights.sum(),
    }
    if network.spec.dropout > 0:
        kept = generator.random((_IMAGES, network.feature_width)) >= network.spec.dropout
        feeds[DROPOUT_MASK] = (kept / (1.0 - network.spec.dropout)).astype(np.float32)
    return StepReference(
        feeds=feeds,
        exact=_torch_step(network, feeds, torch.float64),
        rounded=_torch_step(network, feeds, torch.float32),
    )


def _torch_step(network: Network, feeds: Values, dtype: torch.dtype) -> Values:
    """Return loss, logits and the gradients of all parameters, computed by torch in ``dtype``."""
    still = copy.deepcopy(network).cpu().to(dtype).eval()
    features = still.forward_features(_scaled(feeds[IMAGES], dtype))
    if DROPOUT_MASK in feeds:
        features = features * torch.from_numpy(feeds[DROPOUT_MASK]).to(dtype)
    logits = still.forward_head(features)
    labels = torch.from_numpy(feeds[LABELS])
    loss = (_cross_entropy(logits, labels) * torch.from_numpy(feeds[WEIGHTS]).to(dtype)).sum()
    names, parameters = zip(*still.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    named = {f"grad.{name}": value for name, value in zip(names, gradients, strict=True)}
    values = {LOSS: loss, LOGITS: logits} | named
    return {name: value.numpy(force=True) for name, value in values.items()}


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        target = labels.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def _random_images(network: Network, seed: int) -> np.ndarray:
    channels, height, width = network.input_shape
    generator = np.random.default_rng((seed, height, width))
    return generator.integers(0, 256, (_IMAGES, height, width, channels), dtype=np.uint8)


def _scaled(images: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1.0
