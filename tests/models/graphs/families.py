"""One small network of every family, settled, for tests that go through all of them."""

import functools

import torch

from contract.architecture import EfficientNetV2Spec, MobileNetV2Spec, XceptionSpec
from models.networks import build
from tests.models.graphs.tiny import settled

SPECS = {
    "reduced xception": XceptionSpec(
        input_px=40,
        head_units=2,
        dropout=0.2,
        stem_widths=(8, 12),
        entry_widths=(16, 24),
        middle_depth=2,
        middle_widths=(24, 24, 24),
        exit_widths=(24, 32),
        tail_widths=(40, 48),
    ),
    "optimised xception": XceptionSpec(
        input_px=48,
        head_units=1,
        dropout=0.2,
        stem_widths=(8, 8),
        stem_padding="same",
        entry_widths=(16, 24, 32),
        entry_kernels=(1, 3),
        middle_depth=1,
        middle_widths=(16, 32, 32),
        middle_kernels=(1, 1, 3),
        exit_widths=(40, 48),
        exit_kernels=(1, 3),
        exit_shortcut_kernel=3,
        tail_widths=(48, 64),
        shortcut_batchnorm=False,
        conv_bias=True,
    ),
    "efficientnetv2": EfficientNetV2Spec(
        input_px=48, head_units=3, width_multiplier=0.25, depth_multiplier=0.3
    ),
    "mobilenetv2": MobileNetV2Spec(input_px=48, head_units=2, width_multiplier=0.25),
}
CUTS = ("head", "middle", "stem")


@functools.cache
def network_of(family):
    torch.manual_seed(0)
    return settled(build(SPECS[family]))


def cut_of(network, cut):
    """Return a block name: ``middle`` is whatever block stands halfway."""
    return network.blocks[len(network.blocks) // 2] if cut == "middle" else cut
