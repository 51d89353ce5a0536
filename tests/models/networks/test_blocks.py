"""The conventions that every network keeps: padding, initial weights, head and dropout."""

import math

import pytest
import torch
from torch import nn

from contract.architecture import MobileNetV2Spec, XceptionSpec
from models.networks import build
from models.networks.blocks import conv

DROPPING = MobileNetV2Spec(input_px=32, head_units=2, dropout=0.5, width_multiplier=0.25)


@pytest.mark.parametrize("size_px", [16, 17])
def test_a_strided_convolution_rounds_the_size_up_as_keras_does(size_px):
    layer = conv(3, 4, 3, stride=2)

    assert layer(torch.zeros(1, 3, size_px, size_px)).shape[-1] == math.ceil(size_px / 2)


def test_on_an_even_size_padding_is_the_mirror_image_of_keras():
    layer = conv(3, 4, 3, stride=2)
    x = torch.randn(1, 3, 16, 16)
    keras = nn.functional.conv2d(
        nn.functional.pad(x.flip(2, 3), (0, 1, 0, 1)), layer.weight.flip(2, 3), stride=2
    )

    assert torch.allclose(layer(x), keras.flip(2, 3), atol=1e-5)


def test_on_an_odd_size_padding_is_that_of_keras():
    layer = conv(3, 4, 3, stride=2)
    x = torch.randn(1, 3, 17, 17)
    keras = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), layer.weight, stride=2)

    assert torch.allclose(layer(x), keras, atol=1e-5)


def test_dropout_really_drops_features_in_training():
    torch.manual_seed(0)
    head = build(DROPPING).head
    dropped = head.dropout(torch.ones(4, 1280))

    assert 0.4 < (dropped == 0).float().mean() < 0.6
    assert not torch.equal(head(torch.ones(1, 1280)), head(torch.ones(1, 1280)))


def test_dropout_reaches_the_logits_of_the_whole_network():
    network = build(DROPPING).eval()
    network.head.train()
    x = torch.randn(2, 3, 32, 32)

    assert not torch.equal(network(x), network(x))


def test_dropout_rests_when_the_network_is_evaluated():
    network = build(DROPPING).eval()
    x = torch.randn(2, 3, 32, 32)

    assert torch.equal(network(x), network(x))


def test_without_dropout_the_head_is_one_linear_layer():
    network = build(DROPPING.model_copy(update={"dropout": 0.0}))

    assert [name for name, _ in network.head.named_children()] == ["linear"]


def test_logits_are_the_head_of_the_features():
    network = build(DROPPING).eval()
    x = torch.randn(2, 3, 32, 32)
    features = network.forward_features(x)

    assert features.shape == (2, network.feature_width)
    assert torch.equal(network.forward_head(features), network(x))


def test_every_batchnorm_has_the_epsilon_of_keras():
    for spec in (DROPPING, XceptionSpec(input_px=32, head_units=1)):
        with torch.device("meta"):
            network = build(spec)

        assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_initial_weights_are_he_normal_and_biases_zero():
    torch.manual_seed(0)
    network = build(XceptionSpec(input_px=32, head_units=1, middle_depth=1, conv_bias=True))
    pointwise = network.middle1.body.sep1.pointwise
    depthwise = network.middle1.body.sep1.depthwise

    assert pointwise.weight.std().item() == pytest.approx(math.sqrt(2 / 728), rel=0.02)
    assert depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert not pointwise.bias.any()
    assert network.head.linear.weight.abs().max() <= math.sqrt(6 / 2049)
    assert not network.head.linear.bias.any()
