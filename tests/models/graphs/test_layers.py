"""Every layer's forward and backward rule against torch in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from models.graphs.parity import random_step, torch_step
from models.networks.blocks import AverageMaxPool
from tests.models.graphs.tiny import WIDTH, graph_step, largest_difference, row, tiny_network


class Sum(nn.Module):
    """A body plus its input, so that one value is read twice."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x) + x


class Gate(nn.Module):
    """Squeeze and excitation: a product with one factor per channel."""

    def __init__(self):
        super().__init__()
        self.gate = row(nn.AdaptiveAvgPool2d(1), nn.Conv2d(WIDTH, WIDTH, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.gate(x)


class Square(nn.Module):
    """A product of two values of one shape that are the same value."""

    def forward(self, x):
        return x * x


def conv(kernel, **options):
    return nn.Conv2d(WIDTH, WIDTH, kernel, **options)


def depthwise(kernel, **options):
    return nn.Conv2d(WIDTH, WIDTH, kernel, groups=WIDTH, **options)


LAYERS = {
    "dense 3x3": lambda: row(conv(3, padding=1)),
    "dense 3x3 without padding or bias": lambda: row(conv(3, bias=False)),
    "dense 3x3 stride 2": lambda: row(conv(3, stride=2, padding=1)),
    "dense 3x3 stride 2 without padding": lambda: row(conv(3, stride=2)),
    "dense 3x3 with wide padding": lambda: row(conv(3, padding=3)),
    "dense 5x3 stride 2x1": lambda: row(conv((5, 3), stride=(2, 1), padding=(2, 0))),
    "dense 1x1 with padding": lambda: row(conv(1, padding=1)),
    "pointwise": lambda: row(conv(1)),
    "pointwise stride 2": lambda: row(conv(1, stride=2, bias=False)),
    "pointwise stride 3": lambda: row(conv(1, stride=3)),
    "depthwise 3x3": lambda: row(depthwise(3, padding=1, bias=False)),
    "depthwise 3x3 with bias, no padding": lambda: row(depthwise(3)),
    "depthwise 3x3 stride 2": lambda: row(depthwise(3, stride=2, padding=1)),
    "depthwise 5x5": lambda: row(depthwise(5, padding=2)),
    "depthwise 1x1": lambda: row(depthwise(1)),
    "depthwise 1x1 then pointwise": lambda: row(depthwise(1, bias=False), conv(1)),
    "depthwise 1x1 then pointwise stride 2": lambda: row(
        depthwise(1, bias=False), conv(1, stride=2, bias=False), nn.BatchNorm2d(WIDTH)
    ),
    "separable 3x3": lambda: row(
        depthwise(3, padding=1, bias=False), conv(1), nn.BatchNorm2d(WIDTH)
    ),
    "dense and BatchNorm": lambda: row(conv(3, padding=1), nn.BatchNorm2d(WIDTH)),
    "depthwise and BatchNorm": lambda: row(
        depthwise(3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)
    ),
    "BatchNorm alone": lambda: row(nn.ReLU(), nn.BatchNorm2d(WIDTH)),
    "BatchNorm twice": lambda: row(conv(1), nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)),
    "ReLU": lambda: row(nn.ReLU()),
    "ReLU6": lambda: row(conv(1), nn.BatchNorm2d(WIDTH), Square(), Square(), nn.ReLU6()),
    "SiLU": lambda: row(nn.SiLU()),
    "sigmoid": lambda: row(nn.Sigmoid()),
    "max-pool with overlap": lambda: row(nn.MaxPool2d(3, stride=2, padding=1)),
    "max-pool with heavy overlap": lambda: row(nn.MaxPool2d(3, stride=1)),
    "max-pool without overlap": lambda: row(nn.MaxPool2d(2)),
    "global max": lambda: row(nn.ReLU(), nn.AdaptiveMaxPool2d(1)),
    "global mean and max": lambda: row(conv(1), AverageMaxPool()),
    "zero padding": lambda: row(nn.ZeroPad2d((1, 2, 0, 3)), conv(3)),
    "sum": lambda: Sum(row(conv(3, padding=1), nn.ReLU())),
    "gate": Gate,
    "square": Square,
}


@pytest.mark.parametrize("n_images", [1, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_every_gradient_agrees_with_torch(layer, n_images):
    network = tiny_network(LAYERS[layer]())
    feeds = random_step(network, 0, n_images)

    found = graph_step(network, "stem", feeds)

    assert largest_difference(found, torch_step(network, feeds, torch.float64)) < 2e-5


@pytest.mark.parametrize("px", [8, 11])
@pytest.mark.parametrize("layer", [name for name in LAYERS if "stride" in name or "pool" in name])
def test_strides_agree_on_even_and_odd_sizes(layer, px):
    network = tiny_network(LAYERS[layer](), px=px)
    feeds = random_step(network, 0, 2)

    found = graph_step(network, "stem", feeds)

    assert largest_difference(found, torch_step(network, feeds, torch.float64)) < 2e-5


def test_a_wide_layer_on_few_pixels_takes_the_other_product_and_agrees():
    wide = row(nn.MaxPool2d(8), nn.Conv2d(WIDTH, 64, 1), nn.Conv2d(64, 48, 1))
    network = tiny_network(wide, out_width=48)
    feeds = random_step(network, 0, 3)

    found = graph_step(network, "stem", feeds)

    assert largest_difference(found, torch_step(network, feeds, torch.float64)) < 2e-5


@pytest.mark.parametrize("head_units", [1, 2, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_loss_and_dropout_agree_for_every_kind_of_head(head_units, dropout):
    network = tiny_network(row(nn.ReLU()), head_units=head_units, dropout=dropout)
    feeds = random_step(network, 0, 4)

    found = graph_step(network, "head", feeds)

    assert ("dropout_mask" in feeds) == (dropout > 0)
    assert largest_difference(found, torch_step(network, feeds, torch.float64)) < 2e-5


def test_equal_maxima_send_the_gradient_where_torch_sends_it():
    network = tiny_network(row(nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)))
    feeds = random_step(network, 0, 2)
    feeds["images"] = np.full_like(feeds["images"], 200)

    found = graph_step(network, "stem", feeds)

    assert largest_difference(found, torch_step(network, feeds, torch.float64)) < 2e-5
