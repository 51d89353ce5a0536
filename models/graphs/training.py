"""Writes the graphs: inference with weights, and one training step as a skeleton without.

Nothing is checked here; ``models.graphs.export`` checks before anything is handed out.
"""

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from models.graphs.builder import GraphBuilder
from models.graphs.emission import Emission, flows
from models.graphs.layers import DROPOUT_MASK
from models.graphs.loss import LABELS, LOSS, WEIGHTS, loss
from models.graphs.rules import BACKWARD, FORWARD
from models.graphs.steps import Trace

IMAGES, LOGITS, FEATURES = "images", "logits", "features"
_FLOAT, _UINT8, _INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
_HALF_RANGE = 127.5


def inference_graph(trace: Trace, tensors: dict[str, np.ndarray]) -> bytes:
    """Return the self-contained model: uint8 NHWC images to logits and features.

    ``tensors`` become initialisers under their own names, so that they can be replaced in place.
    """
    graph = GraphBuilder("inference")
    emission = Emission(graph=graph, trace=trace)
    _images(emission)
    for step in trace.steps:
        FORWARD[type(step)](emission, step)
    for name, array in tensors.items():
        graph.initializer(name, array)
    for name, value in ((LOGITS, trace.logits), (FEATURES, trace.features)):
        graph.node("Identity", value, output=name)
        graph.output(name, _FLOAT, ("N", *trace.shapes[value]))
    return graph.model()


def train_graph(trace: Trace, trainable: tuple[str, ...]) -> bytes:
    """Return the training-step skeleton: forward, loss and the gradients of ``trainable``.

    All other parameters and the BatchNorm statistics are named but not stored: whoever loads the
    skeleton appends them as initialisers.
    """
    graph = GraphBuilder("train_step")
    names = frozenset(trainable)
    emission = Emission(graph=graph, trace=trace, trainable=names, flows=flows(trace.steps, names))
    _images(emission)
    _training_inputs(emission)
    for step in trace.steps:
        FORWARD[type(step)](emission, step)
    emission.send(trace.logits, loss(emission, trace.logits))
    for step in reversed(trace.steps):
        if step.output in emission.flows:
            BACKWARD[type(step)](emission, step, emission.gradient(step.output))
    _training_outputs(emission, trainable)
    return graph.model()


def state_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return parameters and BatchNorm statistics by state_dict name, float32 and contiguous."""
    return {
        name: np.ascontiguousarray(value.detach().cpu().to(torch.float32).numpy())
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _images(emission: Emission) -> None:
    """Declare the images and scale them: uint8 NHWC to float NCHW in [-1, 1]."""
    graph, source = emission.graph, emission.trace.source
    channels, height, width = emission.image_shape(source)
    graph.input(IMAGES, _UINT8, ("N", height, width, channels))
    turned = graph.node("Transpose", IMAGES, perm=(0, 3, 1, 2))
    numbers = graph.node("Cast", turned, to=_FLOAT)
    halved = graph.node("Div", numbers, graph.scalar(_HALF_RANGE))
    graph.node("Sub", halved, graph.scalar(1.0), output=source)


def _training_inputs(emission: Emission) -> None:
    graph, trace = emission.graph, emission.trace
    graph.input(LABELS, _INT64, ("N",))
    graph.input(WEIGHTS, _FLOAT, ("N",))
    if trace.has_dropout:
        graph.input(DROPOUT_MASK, _FLOAT, ("N", *trace.shapes[trace.features]))
    for step in trace.steps:
        for name in step.parameters:
            if name in emission.trainable:
                graph.input(name, _FLOAT, trace.shapes[name])


def _training_outputs(emission: Emission, trainable: tuple[str, ...]) -> None:
    graph, trace = emission.graph, emission.trace
    graph.output(LOSS, _FLOAT, ())
    graph.node("Identity", trace.logits, output=LOGITS)
    graph.output(LOGITS, _FLOAT, ("N", *trace.shapes[trace.logits]))
    for name in trainable:
        graph.output(f"grad.{name}", _FLOAT, trace.shapes[name])
