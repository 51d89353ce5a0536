"""The inputs and outputs on the page are those of an exported training-step graph."""

import re

import onnx

from contract.architecture import XceptionSpec
from models.graphs.trace import trace
from models.graphs.training import train_graph
from models.networks import build, frozen_names, trainable_names
from tests.docs.pages import REFERENCE

TEXT = (REFERENCE / "training-graph.md").read_text()
SPEC = XceptionSpec(
    input_px=32, head_units=2, dropout=0.2, stem_widths=(4, 8), entry_widths=(8,), middle_depth=0,
    exit_widths=(8, 12), tail_widths=(16,),
)  # fmt: skip


def documented(section):
    part = TEXT.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)


def test_inputs_and_outputs_are_those_of_an_exported_graph():
    network = build(SPEC)
    names = trainable_names(network, "head")
    graph = onnx.load_from_string(train_graph(trace(network), names)).graph

    def generic(name, prefix=""):
        return f"{prefix}<parameter>" if name.removeprefix(prefix) in names else name

    inputs = list(dict.fromkeys(generic(value.name) for value in graph.input))
    outputs = list(dict.fromkeys(generic(value.name, "grad.") for value in graph.output))
    assert documented("Inputs") == inputs
    assert documented("Outputs") == outputs


def test_the_batch_is_symbolic_and_no_weights_are_inside():
    network = build(SPEC)
    graph = onnx.load_from_string(
        train_graph(trace(network), trainable_names(network, "head"))
    ).graph

    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    stored = {tensor.name for tensor in graph.initializer}
    assert not stored & set(frozen_names(network, "head"))
