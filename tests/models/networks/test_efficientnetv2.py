"""EfficientNetV2-B1 against the facts that Keras's definition gives."""

import pytest
import torch

from contract.architecture import EfficientNetV2Spec
from models.networks import build, network_spec, parameter_count
from models.networks.efficientnetv2 import SqueezeExcite, Unit


@pytest.fixture(scope="module")
def b1():
    with torch.device("meta"):
        return build(network_spec("efficientnetv2-b1"))


def test_holds_exactly_as_many_numbers_as_published(b1):
    assert parameter_count(b1) == 6_932_405
    assert parameter_count(b1) - parameter_count(b1.head) == 6_931_124


def test_b1_repeats_its_units_as_depth_one_point_one_says(b1):
    units = [len(b1.get_submodule(f"stage{number}")) for number in range(1, 7)]

    assert units == [2, 3, 3, 4, 6, 9]


def test_only_the_last_three_stages_squeeze_and_excite(b1):
    excited = [
        any(isinstance(m, SqueezeExcite) for m in b1.get_submodule(f"stage{number}").modules())
        for number in range(1, 7)
    ]

    assert excited == [False, False, False, True, True, True]


def test_divides_the_image_by_thirty_two(b1):
    x = torch.zeros(1, 3, 240, 240, device="meta")
    for name in b1.blocks[:-2]:
        x = b1.get_submodule(name)(x)

    assert x.shape == (1, 192, 8, 8)


def test_a_unit_adds_its_input_only_where_the_shapes_agree(b1):
    adds = [
        unit.adds_input for unit in b1.get_submodule("stage4").modules() if isinstance(unit, Unit)
    ]

    assert adds == [False, True, True, True]


def test_the_gate_scales_whole_channels_by_less_than_one():
    gate = SqueezeExcite(8, 2)
    x = torch.rand(2, 8, 4, 4) + 0.5
    ratio = gate(x) / x

    assert torch.all((ratio > 0) & (ratio < 1))
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio))


def test_a_narrow_network_keeps_at_least_eight_channels():
    network = build(EfficientNetV2Spec(input_px=32, head_units=2, width_multiplier=0.1))

    assert network.stem.conv.out_channels == 8
    assert network.feature_width == 128
