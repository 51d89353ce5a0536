"""What all networks share: the ordered, named blocks, the head and the initial weights.

Three conventions hold for every network here. **Blocks:** the network is a chain of named blocks
from ``stem`` to ``head``, and every name in its ``state_dict`` begins with its block's name and a
dot, so that a prefix of the network can be frozen by name. **Padding:** a 3x3 layer pads one
pixel on each side, whatever its stride, except in a 'valid' stem. At stride 1, and at stride 2 on
an odd size, that is Keras's 'same'. At stride 2 on an even size Keras pads only below and to the
right; a window of ours then never reaches the last padding, so ours pads only above and to the
left: the mirror image, equal in shape and cost, and its windows stay centred on the pixels that a
1x1 shortcut of stride 2 reads. No padding depends on the input. **BatchNorm:** epsilon is 1e-3 as
in Keras; the momentum is torch's 0.1, because Keras's 0.01 needs thousands of steps to settle.

``forward`` uses plain layers, sums and products only, each module once, so ``torch.fx`` traces it
into exactly the operations that the ONNX export knows. This module neither trains nor exports.
"""

import math
from collections import OrderedDict

import torch
from torch import nn

from contract.architecture import ArchitectureSpec, HeadPool

BATCHNORM_EPSILON = 1e-3


class Network(nn.Module):
    """A chain of named blocks from images to logits; a family adds its blocks in order.

    Images are float [N, in_channels, input_px, input_px] in [-1, 1]; features are [N,
    feature_width], pooled, before dropout; logits are [N, head_units].
    """

    def __init__(self, spec: ArchitectureSpec) -> None:
        super().__init__()
        self.spec = spec
        self.blocks: tuple[str, ...] = ()
        self.feature_width = 0

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return (self.spec.in_channels, self.spec.input_px, self.spec.input_px)

    def add_block(self, name: str, block: nn.Module) -> None:
        """Append a block; every later block reads its output."""
        self.add_module(name, block)
        self.blocks = (*self.blocks, name)

    def add_head(self, feature_width: int) -> None:
        """Append the last block: dropout, where the spec has it, and one linear layer."""
        self.feature_width = feature_width
        layers: dict[str, nn.Module] = {}
        if self.spec.dropout > 0:
            layers["dropout"] = nn.Dropout(self.spec.dropout)
        layers["linear"] = nn.Linear(feature_width, self.spec.head_units)
        self.add_block("head", chain(layers))

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled features [N, feature_width] of float images in [-1, 1]."""
        x = images
        for name in self.blocks[:-1]:
            x = self.get_submodule(name)(x)
        return x

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, head_units] of pooled features."""
        logits: torch.Tensor = self.get_submodule("head")(features)
        return logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


def chain(layers: dict[str, nn.Module]) -> nn.Sequential:
    """Return the layers in a row, under their names."""
    return nn.Sequential(OrderedDict(layers))


def conv(
    in_width: int, out_width: int, kernel: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a dense convolution that keeps the size (divided by its stride, rounded up)."""
    return nn.Conv2d(in_width, out_width, kernel, stride, padding=kernel // 2, bias=bias)


def depthwise(width: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    """Return a convolution of each channel by itself, without bias."""
    return nn.Conv2d(width, width, kernel, stride, padding=kernel // 2, groups=width, bias=False)


def batchnorm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=BATCHNORM_EPSILON)


def pooling(kind: HeadPool = "average") -> dict[str, nn.Module]:
    """Return the layers that end every tail: [N, F, H, W] to [N, F]."""
    pool = AverageMaxPool() if kind == "average_max" else nn.AdaptiveAvgPool2d(1)
    return {"pool": pool, "flatten": nn.Flatten()}


class AverageMaxPool(nn.Module):
    """The mean plus the largest of all pixels, channel by channel: [N, F, H, W] to [N, F, 1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.largest = nn.AdaptiveMaxPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.average(x) + self.largest(x)
        return total


def initialise(network: nn.Module) -> None:
    """Set the initial weights: He normal over fan-in for convolutions, Glorot uniform for the head.

    He et al. 2015; Glorot and Bengio 2010. Biases start at zero, BatchNorm as the identity. Uses
    torch's global generator: seed it first for a repeatable network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_in))
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
