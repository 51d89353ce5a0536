"""From spec to network: every field counts, seeds repeat, memory layout changes nothing."""

import pytest
import torch
from torch import fx

from contract.architecture import EfficientNetV2Spec, MobileNetV2Spec, XceptionSpec
from models.networks import build

COMMON = {"input_px": 65, "in_channels": 1, "head_units": 3, "dropout": 0.5}
XCEPTION = XceptionSpec(
    input_px=48,
    head_units=2,
    stem_widths=(4, 8),
    entry_widths=(8, 12),
    middle_depth=2,
    middle_widths=(4, 12),
    middle_kernels=(1, 3),
    exit_widths=(12, 16),
    tail_widths=(20,),
)
XCEPTION_CHANGES = COMMON | {
    "stem_widths": (4, 12),
    "stem_padding": "same",
    "entry_widths": (12, 12),
    "entry_kernels": (1, 3),
    "middle_depth": 1,
    "middle_widths": (8, 12),
    "middle_kernels": (3, 3),
    "exit_widths": (8, 16),
    "exit_kernels": (1, 3),
    "exit_shortcut_kernel": 3,
    "head_pool": "average_max",
    "tail_widths": (20, 20),
    "shortcut_batchnorm": False,
    "conv_bias": True,
}
EFFICIENTNET = EfficientNetV2Spec(
    input_px=48, head_units=2, width_multiplier=0.25, depth_multiplier=0.5
)
EFFICIENTNET_CHANGES = COMMON | {"width_multiplier": 0.5, "depth_multiplier": 1.0}
MOBILENET = MobileNetV2Spec(input_px=48, head_units=2, width_multiplier=0.25)
MOBILENET_CHANGES = COMMON | {"width_multiplier": 0.5}
FAMILIES = [
    (XCEPTION, XCEPTION_CHANGES),
    (EFFICIENTNET, EFFICIENTNET_CHANGES),
    (MOBILENET, MOBILENET_CHANGES),
]
CASES = [
    pytest.param(spec, field, value, id=f"{spec.family}-{field}")
    for spec, changes in FAMILIES
    for field, value in changes.items()
]


def _shapes(network):
    """What a change of structure shows in: all tensors' shapes, all blocks' output sizes."""
    sizes = []
    x = torch.zeros(2, *network.input_shape)
    for name in network.blocks:
        x = network.get_submodule(name)(x)
        sizes.append((name, tuple(x.shape)))
    return sizes, {name: tuple(t.shape) for name, t in network.state_dict().items()}


def _training_logits(network, images):
    torch.manual_seed(2)
    return network.train()(images)


@pytest.mark.parametrize(("spec", "changes"), FAMILIES)
def test_the_table_of_changes_has_every_field(spec, changes):
    assert set(changes) == set(type(spec).model_fields) - {"family"}


@pytest.mark.parametrize(("spec", "field", "value"), CASES)
def test_every_field_changes_the_network(spec, field, value):
    changed = type(spec).model_validate(spec.model_dump() | {field: value})
    torch.manual_seed(1)
    before = build(spec)
    torch.manual_seed(1)
    after = build(changed)

    if _shapes(before) == _shapes(after):
        after.load_state_dict(before.state_dict())
        images = torch.randn(2, *before.input_shape)
        assert not torch.equal(_training_logits(before, images), _training_logits(after, images))


@pytest.mark.parametrize("spec", [XCEPTION, EFFICIENTNET, MOBILENET], ids=lambda s: s.family)
def test_one_seed_gives_one_network(spec):
    torch.manual_seed(1)
    first = build(spec).state_dict()
    torch.manual_seed(1)
    second = build(spec).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("spec", [XCEPTION, EFFICIENTNET, MOBILENET], ids=lambda s: s.family)
def test_channels_last_changes_the_layout_and_nothing_else(spec):
    torch.manual_seed(1)
    plain = build(spec).eval()
    torch.manual_seed(1)
    last = build(spec, channels_last=True).eval()
    images = torch.randn(2, *plain.input_shape)
    stem = last.get_submodule("stem")(images)

    assert stem.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(plain(images), last(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", [XCEPTION, EFFICIENTNET, MOBILENET], ids=lambda s: s.family)
def test_every_parameter_learns(spec):
    network = build(spec)
    network(torch.randn(4, *network.input_shape)).square().sum().backward()

    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize("spec", [XCEPTION, EFFICIENTNET, MOBILENET], ids=lambda s: s.family)
def test_the_traced_network_computes_the_same(spec):
    network = build(spec).eval()
    images = torch.randn(2, *network.input_shape)

    assert torch.equal(fx.symbolic_trace(network)(images), network(images))
