"""The weighted loss and its gradient: softmax cross-entropy, or binary for a one-unit head.

loss = sum of weights[i] * cross_entropy[i]. Who calls normalises the weights over the whole
optimiser batch, so that the losses and gradients of its micro-batches add up exactly.
"""

import numpy as np

from models.graphs.emission import Emission

LABELS, WEIGHTS, LOSS = "labels", "weights", "loss"


def loss(emission: Emission, logits: str) -> str:
    """Write the ``loss`` output and return the gradient of the logits [N, K]."""
    units = emission.shape(logits)[0]
    write = _binary if units == 1 else _softmax
    losses, slope = write(emission, logits, units)
    graph = emission.graph
    weighted = graph.node("Mul", losses, WEIGHTS)
    graph.leaf("ReduceSum", weighted, graph.integers(0), output=LOSS, keepdims=0)
    by_image = graph.node("Unsqueeze", WEIGHTS, graph.integers(1))
    return graph.node("Mul", slope, by_image)


def _softmax(emission: Emission, logits: str, units: int) -> tuple[str, str]:
    """Return -log p of the label [N], and p - one_hot [N, K]."""
    graph = emission.graph
    classes = graph.constant(np.arange(units, dtype=np.int64))
    column = graph.node("Unsqueeze", LABELS, graph.integers(1))
    one_hot = graph.node("Cast", graph.node("Equal", column, classes), to=1)
    log_p = graph.node("LogSoftmax", logits, axis=1)
    picked = graph.node("Mul", log_p, one_hot)
    losses = graph.node("Neg", graph.node("ReduceSum", picked, graph.integers(1), keepdims=0))
    return losses, graph.node("Sub", graph.node("Exp", log_p), one_hot)


def _binary(emission: Emission, logits: str, _units: int) -> tuple[str, str]:
    """Return softplus(z) - z * label [N], and sigmoid(z) - label [N, 1]."""
    graph = emission.graph
    label = graph.node("Cast", graph.node("Unsqueeze", LABELS, graph.integers(1)), to=1)
    gained = graph.node("Mul", logits, label)
    losses = graph.node("Sub", graph.node("Softplus", logits), gained)
    losses = graph.node("Squeeze", losses, graph.integers(1))
    return losses, graph.node("Sub", graph.node("Sigmoid", logits), label)
