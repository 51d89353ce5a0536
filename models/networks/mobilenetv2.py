"""MobileNetV2 (Sandler et al. 2018, table 2), scaled by its width multiplier.

Widths are rounded to multiples of eight as in the paper's reference code and in Keras. The images
arrive scaled; this module does not scale them.
"""

import torch
from torch import nn

from contract.architecture import MobileNetV2Spec
from models.networks.blocks import Network, batchnorm, chain, conv, depthwise, pooling

# expansion, width, units, stride of the first unit: the rows of the paper's table 2
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_WIDTH = 32
_FEATURE_WIDTH = 1280


class MobileNetV2(Network):
    """The network of a ``MobileNetV2Spec``: blocks stem, stage1 to stage7, tail, head."""

    def __init__(self, spec: MobileNetV2Spec) -> None:
        super().__init__(spec)
        scale = spec.width_multiplier
        width = _scaled(_STEM_WIDTH, scale)
        self.add_block("stem", _dense(spec.in_channels, width, kernel=3, stride=2))
        for number, (expansion, base_width, units, stride) in enumerate(_STAGES, start=1):
            out_width = _scaled(base_width, scale)
            stage = _stage((width, out_width), expansion=expansion, units=units, stride=stride)
            self.add_block(f"stage{number}", stage)
            width = out_width
        feature_width = _scaled(_FEATURE_WIDTH, max(1.0, scale))
        self.add_block("tail", chain({"conv": _dense(width, feature_width)} | pooling()))
        self.add_head(feature_width)


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project; plus the input where the shapes agree."""

    def __init__(self, widths: tuple[int, int], *, expansion: int, stride: int) -> None:
        super().__init__()
        in_width, out_width = widths
        self.adds_input = stride == 1 and in_width == out_width
        inner = in_width * expansion
        layers: dict[str, nn.Module] = {}
        if expansion > 1:
            layers["expand"] = _dense(in_width, inner)
        layers["depthwise"] = _normed(depthwise(inner, 3, stride=stride))
        layers["project"] = chain({"conv": conv(inner, out_width, 1), "bn": batchnorm(out_width)})
        self.body = chain(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return y + x if self.adds_input else y


def _stage(widths: tuple[int, int], *, expansion: int, units: int, stride: int) -> nn.Sequential:
    in_width, out_width = widths
    layers: dict[str, nn.Module] = {
        "unit1": InvertedResidual((in_width, out_width), expansion=expansion, stride=stride)
    }
    for number in range(2, units + 1):
        layers[f"unit{number}"] = InvertedResidual(
            (out_width, out_width), expansion=expansion, stride=1
        )
    return chain(layers)


def _dense(in_width: int, out_width: int, *, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return _normed(conv(in_width, out_width, kernel, stride=stride))


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    norm = batchnorm(convolution.out_channels)
    return chain({"conv": convolution, "bn": norm, "relu": nn.ReLU6()})


def _scaled(width: int, multiplier: float) -> int:
    """Return the scaled width, to the nearest multiple of 8, never over a tenth below it."""
    exact = width * multiplier
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
