"""Checks the rules of a network's training graph themselves, in float64, against torch.

onnxruntime computes in float32, where rounding tips a ReLU or a maximum over and moves gradients
visibly, so ``parity`` must allow for that. Here ONNX's reference evaluator runs the same graph in
float64, in which nothing tips: a rule that is wrong by a millionth is found. It is slow, so the
network is drawn for small pictures; the rules do not depend on their size. It says nothing of
onnxruntime's kernels: that is what ``parity`` compares, at the network's own size.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.graphs.errors import ExportDisagreesError
from models.graphs.parity import Values, random_step, torch_step
from models.graphs.trace import trace
from models.graphs.training import state_tensors, train_graph
from models.networks import Network, build, trainable_names
from models.onnx_bytes import with_initializers

SMALL_PX = 72
TOLERANCE = 1e-6
_IMAGES = 2
_LEAST = 1e-12


def check_rules(network: Network, cut: str) -> float:
    """Return the largest relative difference of loss, logits and gradients from torch.

    Raises UnknownCutError and ExportDisagreesError, which names the value.
    """
    small = _for_small_pictures(network)
    trainable = trainable_names(small, cut)
    feeds = random_step(small, 0, _IMAGES)
    expected = torch_step(small, feeds, torch.float64)
    found = _evaluated(small, trainable, feeds)
    differences = {name: _difference(value, expected[name]) for name, value in found.items()}
    for name, difference in differences.items():
        if not difference <= TOLERANCE:  # NaN must not pass
            raise ExportDisagreesError(name, difference, TOLERANCE)
    return max(differences.values())


def _for_small_pictures(network: Network) -> Network:
    if network.spec.input_px <= SMALL_PX:
        return network
    small = build(network.spec.model_copy(update={"input_px": SMALL_PX}))
    small.load_state_dict(network.state_dict())
    return small


def _evaluated(network: Network, trainable: tuple[str, ...], feeds: Values) -> Values:
    tensors = state_tensors(network)
    trained = {name: tensors.pop(name) for name in trainable}
    skeleton = train_graph(trace(network), trainable)
    model = onnx.load_from_string(with_initializers(skeleton, tensors))
    _widen(model.graph)
    names = [output.name for output in model.graph.output]
    fed = {name: _widened(value) for name, value in (feeds | trained).items()}
    values = ReferenceEvaluator(model).run(names, fed)
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _widen(graph: onnx.GraphProto) -> None:
    """Turn every float32 of the graph into a float64, in place."""
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            _widen_tensor(attribute.t)
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1))
            node.attribute.append(onnx.helper.make_attribute("value", zero))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if value.dtype == np.float32 else value


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), _LEAST)
