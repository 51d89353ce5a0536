"""Collects ONNX nodes, constants, inputs and outputs, and writes them as one model.

Order is memory: onnxruntime frees a value after its last reader, and its default schedule walks
depth-first from the nodes that nothing reads, the last one in the file first (seen in its
profiles, onnxruntime 1.32). So gradients of parameters, the nodes that nothing reads, are kept
aside and written at the end in reverse: then a layer's gradients are computed, and its
activation freed, before the backward pass reaches the layer below. It knows nothing of layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9

Array = np.ndarray[Any, np.dtype[Any]]
Dimensions = Sequence[str | int]
Attribute = int | float | Sequence[int] | str


class GraphBuilder:
    """An ONNX graph under construction."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[NodeProto] = []
        self._leaves: list[NodeProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._initializers: list[TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Attribute) -> str:
        """Append a node with one output and return the output's name."""
        return self.nodes(kind, inputs, (output or self._fresh(kind),), **attributes)[0]

    def nodes(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute
    ) -> tuple[str, ...]:
        """Append a node with several outputs and return their names."""
        label = f"{outputs[0]}/{kind}"
        self._nodes.append(_node(kind, label, inputs, outputs, attributes))
        return tuple(outputs)

    def leaf(self, kind: str, *inputs: str, output: str, **attributes: Attribute) -> None:
        """Append a node that nothing reads and that makes an output of the graph."""
        label = f"{output}/{kind}"
        self._leaves.append(_node(kind, label, inputs, [output], attributes))

    def integers(self, *values: int) -> str:
        """Return the name of an int64 vector."""
        return self.constant(np.asarray(values, np.int64))

    def scalar(self, value: float) -> str:
        """Return the name of a float32 scalar."""
        return self.constant(np.asarray(value, np.float32))

    def constant(self, array: Array) -> str:
        """Return the name of a constant; equal constants are stored once."""
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"const.{len(self._constants)}"
            self.initializer(self._constants[key], array)
        return self._constants[key]

    def initializer(self, name: str, array: Array) -> None:
        self._initializers.append(numpy_helper.from_array(array, name))

    def input(self, name: str, dtype: int, shape: Dimensions) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def output(self, name: str, dtype: int, shape: Dimensions) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def model(self) -> bytes:
        """Return the model as collected so far, in its file form."""
        graph = helper.make_graph(
            [*self._nodes, *reversed(self._leaves)],
            self._name,
            self._inputs,
            self._outputs,
            self._initializers,
        )
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="paretofleet",
        )
        return bytes(model.SerializeToString(deterministic=True))

    def _fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}.{self._count}"


def _node(
    kind: str,
    label: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Attribute],
) -> NodeProto:
    node = helper.make_node(kind, inputs, outputs, name=label)
    node.attribute.extend(helper.make_attribute(*item) for item in sorted(attributes.items()))
    return node
