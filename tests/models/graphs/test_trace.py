"""A network becomes a flat list of typed steps, or a named error says which layer cannot."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from models.graphs import UnknownLayerError
from models.graphs.steps import BatchNorm, Conv, Flatten
from models.graphs.trace import trace
from tests.models.graphs.tiny import WIDTH, row, tiny_network


def under(network):
    return [step for step in trace(network).steps if "under" in step.output]


def test_steps_come_in_order_and_name_what_they_read():
    steps = trace(tiny_network(row(nn.ReLU()))).steps

    assert [type(step).__name__ for step in steps] == [
        "Conv",
        "Activation",
        "GlobalPool",
        "Flatten",
        "Linear",
    ]
    for before, after in pairwise(steps):
        assert after.inputs == (before.output,)


def test_batchnorm_joins_the_convolution_before_it():
    (step,) = under(tiny_network(row(nn.Conv2d(WIDTH, WIDTH, 3), nn.BatchNorm2d(WIDTH))))

    assert isinstance(step, Conv)
    assert step.norm is not None
    assert step.parameters == (
        "under.l0.weight",
        "under.l0.bias",
        "under.l1.weight",
        "under.l1.bias",
    )


def test_batchnorm_stays_apart_where_something_else_reads_the_convolution():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(WIDTH, WIDTH, 1)
            self.norm = nn.BatchNorm2d(WIDTH)

        def forward(self, x):
            y = self.conv(x)
            return y + self.norm(y)

    kinds = [type(step) for step in under(tiny_network(Both()))]

    assert kinds[:2] == [Conv, BatchNorm]


def test_a_1x1_depthwise_layer_joins_the_pointwise_one_after_it():
    layers = row(nn.Conv2d(WIDTH, WIDTH, 1, groups=WIDTH, bias=False), nn.Conv2d(WIDTH, WIDTH, 1))
    (step,) = under(tiny_network(layers))

    assert step.gains == "under.l0.weight"
    assert step.parameters == ("under.l0.weight", "under.l1.weight", "under.l1.bias")


def test_shapes_are_per_image_and_cover_values_and_parameters():
    traced = trace(tiny_network(row(nn.MaxPool2d(2)), px=8))
    pool = next(step for step in traced.steps if "under" in step.output)

    assert traced.shapes[traced.source] == (3, 8, 8)
    assert traced.shapes[pool.output] == (WIDTH, 4, 4)
    assert traced.shapes["stem.l0.weight"] == (WIDTH, 3, 1, 1)
    assert traced.shapes[traced.features] == (WIDTH,)
    assert traced.shapes[traced.logits] == (2,)


def test_features_are_those_before_dropout():
    traced = trace(tiny_network(row(nn.ReLU()), dropout=0.5))
    flatten = next(step for step in traced.steps if isinstance(step, Flatten))

    assert traced.features == flatten.output
    assert traced.has_dropout


def test_tracing_leaves_the_network_as_it_was():
    network = tiny_network(row(nn.BatchNorm2d(WIDTH))).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    trace(network)

    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.GELU(), "GELU"),
        (nn.Conv2d(WIDTH, WIDTH, 1, groups=2), "groups=2"),
        (nn.Conv2d(WIDTH, WIDTH, 3, dilation=2, padding=2), "dilation"),
        (nn.Conv2d(WIDTH, WIDTH, 3, padding="same"), "padding=same"),
        (nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.BatchNorm2d(WIDTH, affine=False), "affine=False"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode=True"),
        (nn.AdaptiveAvgPool2d(2), "output_size=2"),
        (nn.Flatten(2), "start_dim=2"),
    ],
)
def test_a_layer_without_a_rule_is_named(layer, name):
    network = tiny_network(row(nn.ReLU()))
    network.under.l0 = layer

    with pytest.raises(UnknownLayerError, match=name) as raised:
        trace(network)

    assert raised.value.name == "under.l0"


@pytest.mark.parametrize("operation", [lambda x: x + 1.0, torch.sin, lambda x: x.clamp(0)])
def test_an_operation_without_a_rule_is_named(operation):
    class Odd(nn.Module):
        def forward(self, x):
            return operation(x)

    with pytest.raises(UnknownLayerError, match="cannot be exported"):
        trace(tiny_network(Odd()))
