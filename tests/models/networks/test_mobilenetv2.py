"""MobileNetV2 against the facts of its paper and of Keras's definition."""

import pytest
import torch

from contract.architecture import MobileNetV2Spec
from models.networks import build, network_spec, parameter_count
from models.networks.mobilenetv2 import InvertedResidual


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return build(network_spec("mobilenetv2"))


def test_holds_exactly_as_many_numbers_as_published(full):
    assert parameter_count(full) == 2_259_265
    assert parameter_count(full) - parameter_count(full.head) == 2_257_984


def test_divides_the_image_by_thirty_two(full):
    x = torch.zeros(1, 3, 224, 224, device="meta")
    for name in full.blocks[:-2]:
        x = full.get_submodule(name)(x)

    assert x.shape == (1, 320, 7, 7)


def test_ten_units_add_their_input(full):
    units = [m for m in full.modules() if isinstance(m, InvertedResidual)]

    assert len(units) == 17
    assert sum(unit.adds_input for unit in units) == 10


def test_a_narrow_network_keeps_its_features_wide():
    network = build(MobileNetV2Spec(input_px=32, head_units=2, width_multiplier=0.35))

    assert network.feature_width == 1280
    assert network.stem.conv.out_channels == 16


def test_a_wide_network_widens_its_features():
    with torch.device("meta"):
        network = build(MobileNetV2Spec(input_px=32, head_units=2, width_multiplier=1.4))

    assert network.feature_width == 1792


def test_rounding_never_takes_more_than_a_tenth_of_a_width():
    network = build(MobileNetV2Spec(input_px=32, head_units=2, width_multiplier=0.35))

    # 0.35 * 32 = 11.2 rounds to 8, which is under nine tenths of it: 16
    assert network.stage3.unit1.body.project.conv.out_channels == 16
