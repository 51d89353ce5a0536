"""The table of named networks, row by row."""

import operator
import re

import pytest
import torch
from torch import fx, nn

from contract.architecture import MobileNetV2Spec, XceptionSpec
from models.networks import (
    NETWORKS,
    STARTER,
    DuplicateNetworkError,
    UnknownNetworkError,
    build,
    network_spec,
    parameter_count,
)
from models.networks.registry import as_table

COUNTS = {
    "xception": 20_863_529,
    "xception-optimised": 15_630_033,
    "xception-optimised-1x1": 11_435_729,
    "efficientnetv2-b1": 6_932_405,
    "mobilenetv2": 2_259_265,
    "rx-2xs-064": 35_758,
    "rx-xs-064": 70_126,
    "rx-xs-096": 100_846,
    "rx-s-128": 154_526,
    "rx-m-096": 228_442,
    "rx-m-128": 362_282,
    "rx-m-192": 362_282,
    "rx-l-224": 511_994,
    "rx-xl-224": 990_874,
    "rx-2xl-224": 3_135_458,
    "rx-3xl-224": 7_980_610,
}
EXPORTABLE = (
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.Sigmoid,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Linear,
)
ONE = MobileNetV2Spec(input_px=64, head_units=1)
TWO = MobileNetV2Spec(input_px=64, head_units=2)


@pytest.fixture(scope="module", params=NETWORKS)
def named(request):
    with torch.device("meta"):
        return request.param, build(network_spec(request.param))


def test_every_network_has_its_count_written_down():
    assert set(COUNTS) == set(NETWORKS)


def test_counts_are_as_written(named):
    name, network = named

    assert parameter_count(network) == COUNTS[name]


def test_features_and_logits_have_the_promised_shapes(named):
    _, network = named
    images = torch.zeros(2, *network.input_shape, device="meta")
    features = network.forward_features(images)

    assert features.shape == (2, network.feature_width)
    assert network.forward_head(features).shape == (2, network.spec.head_units)
    assert network(images).shape == (2, network.spec.head_units)


def test_every_tensor_is_named_after_its_block(named):
    _, network = named

    assert network.blocks[0] == "stem"
    assert network.blocks[-1] == "head"
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", block) for block in network.blocks)
    assert {key.partition(".")[0] for key in network.state_dict()} == set(network.blocks)


def test_traces_into_plain_layers_sums_and_products(named):
    _, network = named
    traced = fx.symbolic_trace(network)
    modules = dict(traced.named_modules())
    layers = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    others = {
        node.target if node.op == "call_function" else node.op
        for node in traced.graph.nodes
        if node.op != "call_module"
    }

    assert {type(modules[layer]) for layer in layers} <= set(EXPORTABLE)
    assert len(layers) == len(set(layers))
    assert others <= {"placeholder", "output", operator.add, operator.mul}


def test_no_layer_writes_into_its_input(named):
    _, network = named

    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_the_starter_networks_are_small_together_and_spread():
    specs = [network_spec(name) for name in STARTER]

    assert 6 <= len(specs) <= 8
    assert sum(COUNTS[name] for name in STARTER) <= 1_600_000  # a release of at most 15 MB
    assert {spec.head_units for spec in specs} == {2}
    assert {spec.input_px for spec in specs} == {64, 96, 128, 192, 224}


def test_a_reduction_says_its_pixels_in_its_name():
    for name, spec in NETWORKS.items():
        if name.startswith("rx-"):
            assert isinstance(spec, XceptionSpec)
            assert int(name[-3:]) == spec.input_px


def test_one_name_for_two_networks_is_refused():
    with pytest.raises(DuplicateNetworkError, match="'a' and 'a'"):
        as_table([("a", ONE), ("a", TWO)])


def test_two_names_for_one_network_are_refused():
    with pytest.raises(DuplicateNetworkError, match="'a' and 'c'"):
        as_table([("a", ONE), ("b", TWO), ("c", ONE)])


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNetworkError, match="choose one of: xception, xception-optimised"):
        network_spec("resnet50")
