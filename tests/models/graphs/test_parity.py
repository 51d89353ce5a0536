"""An export that disagrees with torch is refused, and the refusal names what differs."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.graphs import ExportDisagreesError
from models.graphs.parity import References, check_inference, check_step
from models.graphs.trace import trace
from models.graphs.training import inference_graph, state_tensors, train_graph
from models.networks import trainable_names
from models.onnx_bytes import read_initializers, replace_initializers
from tests.models.graphs.families import SPECS, network_of


@pytest.fixture(scope="module")
def network():
    return network_of("optimised xception")


@pytest.fixture(scope="module")
def steps(network):
    return References(network)


@pytest.fixture
def skeleton(network):
    return onnx.load_from_string(train_graph(trace(network), trainable_names(network, "exit")))


def check(network, skeleton, steps):
    names = trainable_names(network, "exit")
    return check_step(network, skeleton.SerializeToString(), names, steps)


def node_of(skeleton, kind, *, last=False):
    nodes = [node for node in skeleton.graph.node if node.op_type == kind]
    return nodes[-1 if last else 0]


@pytest.mark.parametrize("family", SPECS)
def test_a_true_export_passes_far_below_the_limit(family):
    network = network_of(family)
    model = inference_graph(trace(network), state_tensors(network))

    assert check_inference(network, model) < 5e-5


def test_a_weight_that_moved_is_refused(network):
    model = inference_graph(trace(network), state_tensors(network))
    weight = read_initializers(model)["exit.body.sep2.pointwise.weight"]
    moved = replace_initializers(model, {"exit.body.sep2.pointwise.weight": weight * 1.01})

    with pytest.raises(ExportDisagreesError, match="differs from torch by") as raised:
        check_inference(network, moved)

    assert raised.value.difference > raised.value.allowed


def test_the_true_step_passes(network, skeleton, steps):
    assert check(network, skeleton, steps) < 1e-4


def test_a_forgotten_relu_mask_is_refused(network, skeleton, steps):
    node_of(skeleton, "Greater", last=True).op_type = "Equal"

    with pytest.raises(ExportDisagreesError, match=r"grad\.exit"):
        check(network, skeleton, steps)


def test_overwriting_where_max_pool_windows_overlap_is_refused(network, skeleton, steps):
    (reduction,) = (
        a for a in node_of(skeleton, "ScatterElements").attribute if a.name == "reduction"
    )
    reduction.s = b"none"

    with pytest.raises(ExportDisagreesError, match=r"grad\.exit"):
        check(network, skeleton, steps)


def test_a_depthwise_tap_at_the_wrong_place_is_refused(network, skeleton, steps):
    taps = [node for node in skeleton.graph.node if node.op_type == "Slice"]
    moved = next(node for node in taps if node.input[0].startswith("pad."))
    other = next(node for node in taps if node.input[0] == moved.input[0] and node != moved)
    moved.input[1], moved.input[2] = other.input[1], other.input[2]

    with pytest.raises(ExportDisagreesError, match=r"grad\..*depthwise\.weight|grad\.exit"):
        check(network, skeleton, steps)


def test_another_epsilon_in_batchnorm_is_refused(network, skeleton, steps):
    for tensor in skeleton.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.shape == () and np.isclose(value, 1e-3):
            tensor.CopyFrom(numpy_helper.from_array(np.float32(0.1), tensor.name))

    with pytest.raises(ExportDisagreesError):
        check(network, skeleton, steps)


def test_a_gradient_that_is_not_a_number_is_refused(network, skeleton, steps):
    node_of(skeleton, "Sigmoid").op_type = "Log"

    with pytest.raises(ExportDisagreesError) as raised:
        check(network, skeleton, steps)

    assert raised.value.value
