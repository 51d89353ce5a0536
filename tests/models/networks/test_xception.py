"""Xception, the optimised Xception and their reductions, against the facts of the papers."""

import pytest
import torch
from torch import nn

from contract.architecture import XceptionSpec
from models.networks import build, network_spec, parameter_count
from models.networks.xception import Residual

TINY = XceptionSpec(
    input_px=32,
    head_units=2,
    stem_widths=(4, 8),
    entry_widths=(8, 12),
    middle_depth=2,
    middle_widths=(4, 12),
    middle_kernels=(1, 3),
    exit_widths=(12, 16),
    tail_widths=(20, 24),
)


@pytest.mark.parametrize(
    ("name", "with_head", "without_head"),
    [
        ("xception", 20_863_529, 20_861_480),
        ("xception-optimised", 15_630_033, 15_627_984),
    ],
)
def test_holds_exactly_as_many_numbers_as_published(name, with_head, without_head):
    with torch.device("meta"):
        network = build(network_spec(name))

    assert parameter_count(network) == with_head
    assert with_head - parameter_count(network.head) == without_head


def test_the_exit_shortcut_is_the_most_expensive_layer_of_the_optimised_network():
    with torch.device("meta"):
        network = build(network_spec("xception-optimised"))

    assert parameter_count(network.exit.shortcut) == 4_719_616


def test_blocks_follow_the_figure():
    network = build(TINY)

    expected = ("stem", "entry1", "entry2", "middle1", "middle2", "exit", "tail", "head")
    assert network.blocks == expected
    assert tuple(name for name, _ in network.named_children()) == expected


def test_xception_sees_the_sizes_that_the_paper_gives():
    with torch.device("meta"):
        network = build(network_spec("xception"))
        x = torch.zeros(1, *network.input_shape)
        sizes = []
        for name in network.blocks[:-2]:
            x = network.get_submodule(name)(x)
            sizes.append(tuple(x.shape[1:3]))

    middle = [(728, 19)] * 9
    assert sizes == [(64, 147), (128, 74), (256, 37), *middle, (1024, 10)]


def test_a_separable_convolution_has_one_bias_and_it_follows_the_pointwise_half():
    network = build(TINY.model_copy(update={"conv_bias": True}))
    convolutions = {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    }

    for name, module in convolutions.items():
        assert (module.bias is None) == name.endswith("depthwise"), name


def test_without_conv_bias_no_convolution_has_one():
    network = build(TINY)

    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d))


def test_a_middle_block_whose_body_is_silent_passes_its_input_on():
    block = build(TINY).get_submodule("middle1").eval()
    nn.init.zeros_(block.body.sep2.bn.weight)
    x = torch.randn(2, 12, 4, 4)

    assert torch.equal(block(x), x)


def test_an_entry_block_adds_what_its_shortcut_makes_of_the_input():
    block = build(TINY).get_submodule("entry1").eval()
    x = torch.randn(2, 8, 16, 16)

    assert isinstance(block, Residual)
    assert torch.equal(block(x), block.body(x) + block.shortcut(x))
    assert block(x).shape == (2, 8, 8, 8)


def test_only_the_first_entry_block_leaves_out_its_first_relu():
    network = build(TINY)

    names = {
        n: next(n for n, _ in network.get_submodule(n).body.named_children())
        for n in ("entry1", "entry2", "middle1", "exit")
    }
    assert names == {"entry1": "sep1", "entry2": "relu1", "middle1": "relu1", "exit": "relu1"}


def test_a_network_without_middle_flow_goes_from_entry_to_exit():
    network = build(TINY.model_copy(update={"middle_depth": 0}))

    assert network.blocks == ("stem", "entry1", "entry2", "exit", "tail", "head")
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize("field", ["entry_widths", "tail_widths", "middle_widths"])
def test_a_spec_without_blocks_is_refused(field):
    with pytest.raises(ValueError, match=field.partition("_")[0]):
        XceptionSpec.model_validate({"input_px": 32, "head_units": 2, field: ()})
