"""The builder writes nodes in an order that frees memory early, and constants once."""

import numpy as np
import onnx
from onnx import TensorProto

from models.graphs.builder import GraphBuilder


def built(graph):
    return onnx.load_from_string(graph.model()).graph


def test_leaves_come_last_and_in_reverse():
    graph = GraphBuilder("g")
    graph.leaf("Neg", "x", output="first")
    y = graph.node("Exp", "x")
    graph.leaf("Neg", y, output="second")

    assert [node.output[0] for node in built(graph).node] == [y, "second", "first"]


def test_equal_constants_are_stored_once():
    graph = GraphBuilder("g")

    assert graph.integers(1, 2) == graph.integers(1, 2)
    assert graph.scalar(0.0) == graph.scalar(0.0)
    assert graph.scalar(0.0) != graph.integers(0)
    assert graph.constant(np.zeros((1, 2))) != graph.constant(np.zeros((2, 1)))
    assert len(built(graph).initializer) == 5


def test_fresh_names_never_repeat():
    graph = GraphBuilder("g")
    names = [graph.node("Exp", "x") for _ in range(3)]

    assert len(set(names)) == 3


def test_inputs_and_outputs_keep_their_symbolic_batch():
    graph = GraphBuilder("g")
    graph.input("x", TensorProto.FLOAT, ("N", 3))
    graph.node("Exp", "x", output="y")
    graph.output("y", TensorProto.FLOAT, ("N", 3))

    (x,), (y,) = built(graph).input, built(graph).output
    assert x.type.tensor_type.shape.dim[0].dim_param == "N"
    assert y.type.tensor_type.shape.dim[1].dim_value == 3
