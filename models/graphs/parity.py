"""Compares the graphs with torch: logits and features, and one step's loss and gradients.

The yardstick is torch in float64. A value may differ from it by a small floor, or by a few times
what torch in float32 differs, up to a ceiling. A ReLU or a maximum may tip over by rounding alone
and move a gradient visibly, in torch as here, and the more so the larger the network; that is luck
of the images, so each value has several sets of images to agree on: a wrong rule fails on all.
Differences are relative to the largest number of the value compared.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
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
STEP_CEILING = 0.05
_IMAGES = 3
_ATTEMPTS = 6
# A gradient this much smaller than the largest one is compared on the scale of that.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True, kw_only=True)
class StepReference:
    """One training step: what went in, and what came out of torch in float64 and float32."""

    feeds: Values
    exact: Values
    rounded: Values


@dataclass(frozen=True, kw_only=True)
class _Agreement:
    difference: float
    allowed: float


def check_inference(network: Network, model: bytes, *, seed: int = 0) -> float:
    """Return the largest difference of logits and features; raise ExportDisagreesError."""
    images = _random_images(network, seed)
    still = copy.deepcopy(network).cpu().eval()
    with _one_thread(), torch.inference_mode():
        features = still.forward_features(_scaled(images, torch.float32))
        expected = {
            FEATURES: features.numpy(force=True),
            LOGITS: still.forward_head(features).numpy(force=True),
        }
    names = list(expected)
    found = dict(zip(names, run(model, names, {IMAGES: images}), strict=True))
    differences = {name: _difference(found[name], expected[name]) for name in names}
    for name, difference in differences.items():
        if not difference <= OUTPUT_TOLERANCE:  # NaN must not pass
            raise ExportDisagreesError(name, difference, OUTPUT_TOLERANCE)
    return max(differences.values())


class References:
    """Training steps of one network on several sets of images, each computed when first needed."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._made: list[StepReference] = []

    def __iter__(self) -> Iterator[StepReference]:
        for seed in range(_ATTEMPTS):
            if seed == len(self._made):
                self._made.append(_reference(self._network, seed))
            yield self._made[seed]


def check_step(
    network: Network, skeleton: bytes, trainable: tuple[str, ...], references: References
) -> float:
    """Return the largest difference of one step's loss, logits and gradients.

    Raises ExportDisagreesError, naming a value that is too far off on every set of images.
    """
    tensors = state_tensors(network)
    trained = {name: tensors.pop(name) for name in trainable}
    model = with_initializers(skeleton, tensors)
    best: dict[str, _Agreement] = {}
    for reference in references:
        for name, agreement in _compare(model, trained, reference).items():
            best[name] = min(best.get(name, agreement), agreement, key=_excess)
        if all(_excess(agreement) <= 1.0 for agreement in best.values()):
            return max(agreement.difference for agreement in best.values())
    name = max(best, key=lambda name: _excess(best[name]))
    raise ExportDisagreesError(name, best[name].difference, best[name].allowed)


def run(model: bytes, outputs: list[str], feeds: Values) -> list[np.ndarray]:
    """Run a model once on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(outputs, feeds)]


def _compare(model: bytes, trained: Values, reference: StepReference) -> dict[str, _Agreement]:
    names = [LOSS, LOGITS, *(f"grad.{name}" for name in trained)]
    found = dict(zip(names, run(model, names, reference.feeds | trained), strict=True))
    exact, rounded = reference.exact, reference.rounded
    least = _NEGLIGIBLE * max(float(np.abs(exact[name]).max()) for name in names[2:])
    compared = {}
    for name in names:
        own = _difference(rounded[name], exact[name], least)
        compared[name] = _Agreement(
            difference=_difference(found[name], exact[name], least),
            allowed=min(max(STEP_FLOOR, STEP_FACTOR * own), STEP_CEILING),
        )
    return compared


def _excess(agreement: _Agreement) -> float:
    """Return the difference in units of what is allowed; infinite when it is not a number."""
    ratio = agreement.difference / agreement.allowed
    return math.inf if math.isnan(ratio) else ratio


def _difference(found: np.ndarray, expected: np.ndarray, least: float = 1e-30) -> float:
    scale = max(float(np.abs(expected).max()), least)
    return float(np.abs(found.astype(np.float64) - expected).max()) / scale


def random_step(network: Network, seed: int, n_images: int = _IMAGES) -> Values:
    """Return images, labels, unequal weights that sum to 1 and, where wanted, a dropout mask."""
    generator = np.random.default_rng(seed)
    units, rate = network.spec.head_units, network.spec.dropout
    weights = generator.uniform(0.5, 1.5, n_images).astype(np.float32)
    feeds: Values = {
        IMAGES: _random_images(network, seed, n_images),
        LABELS: generator.integers(0, max(2, units), n_images),
        WEIGHTS: weights / weights.sum(),
    }
    if rate > 0:
        kept = generator.random((n_images, network.feature_width)) >= rate
        feeds[DROPOUT_MASK] = (kept / (1.0 - rate)).astype(np.float32)
    return feeds


def _reference(network: Network, seed: int) -> StepReference:
    feeds = random_step(network, seed)
    return StepReference(
        feeds=feeds,
        exact=torch_step(network, feeds, torch.float64),
        rounded=torch_step(network, feeds, torch.float32),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute on one thread.

    With two, torch 2.13.0's float32 gradients of small networks were seen to end the process
    (SIGSEGV), and sums are in another order than onnxruntime's.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_step(network: Network, feeds: Values, dtype: torch.dtype) -> Values:
    """Return loss, logits and the gradients of all parameters, computed by torch in ``dtype``."""
    with _one_thread():
        return _torch_step(network, feeds, dtype)


def _torch_step(network: Network, feeds: Values, dtype: torch.dtype) -> Values:
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


def _random_images(network: Network, seed: int, n_images: int = _IMAGES) -> np.ndarray:
    channels, height, width = network.input_shape
    generator = np.random.default_rng((seed, height, width))
    return generator.integers(0, 256, (n_images, height, width, channels), dtype=np.uint8)


def _scaled(images: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1.0
