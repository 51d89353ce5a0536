"""EfficientNetV2-B0 and its scalings (Tan and Le 2021), as Keras defines the B series.

Three fused stages (dense convolution), then three of depthwise units with squeeze and excitation.
B1 is width 1.0 and depth 1.1. Keras drops whole units at random while training (drop connect);
this definition does not, so that a training step is a fixed graph. The images arrive scaled.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from contract.architecture import EfficientNetV2Spec
from models.networks.blocks import Network, batchnorm, chain, conv, depthwise, pooling


class _Stage(NamedTuple):
    fused: bool
    expansion: int
    width: int
    units: int
    stride: int


# The B0 rows; widths and units are scaled by the spec's multipliers
_STAGES = (
    _Stage(fused=True, expansion=1, width=16, units=1, stride=1),
    _Stage(fused=True, expansion=4, width=32, units=2, stride=2),
    _Stage(fused=True, expansion=4, width=48, units=2, stride=2),
    _Stage(fused=False, expansion=4, width=96, units=3, stride=2),
    _Stage(fused=False, expansion=6, width=112, units=5, stride=1),
    _Stage(fused=False, expansion=6, width=192, units=8, stride=2),
)
_STEM_WIDTH = 32
_FEATURE_WIDTH = 1280
_SQUEEZE_RATIO = 0.25


class EfficientNetV2(Network):
    """The network of an ``EfficientNetV2Spec``: blocks stem, stage1 to stage6, tail, head."""

    def __init__(self, spec: EfficientNetV2Spec) -> None:
        super().__init__(spec)
        width = _scaled_width(_STEM_WIDTH, spec.width_multiplier)
        self.add_block("stem", _normed(conv(spec.in_channels, width, 3, stride=2)))
        for number, row in enumerate(_STAGES, start=1):
            scaled = row._replace(
                width=_scaled_width(row.width, spec.width_multiplier),
                units=math.ceil(row.units * spec.depth_multiplier),
            )
            self.add_block(f"stage{number}", _stage(width, scaled))
            width = scaled.width
        feature_width = _scaled_width(_FEATURE_WIDTH, spec.width_multiplier)
        tail = {"conv": _normed(conv(width, feature_width, 1))} | pooling()
        self.add_block("tail", chain(tail))
        self.add_head(feature_width)


class Unit(nn.Module):
    """A body, plus the input where the shapes agree."""

    def __init__(self, body: nn.Sequential, *, adds_input: bool) -> None:
        super().__init__()
        self.body = body
        self.adds_input = adds_input

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return y + x if self.adds_input else y


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate in (0, 1) computed from the means of all (Hu et al. 2018)."""

    def __init__(self, width: int, squeezed_width: int) -> None:
        super().__init__()
        self.gate = chain(
            {
                "pool": nn.AdaptiveAvgPool2d(1),
                "reduce": conv(width, squeezed_width, 1, bias=True),
                "silu": nn.SiLU(),
                "expand": conv(squeezed_width, width, 1, bias=True),
                "sigmoid": nn.Sigmoid(),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = x * self.gate(x)
        return scaled


def _stage(in_width: int, stage: _Stage) -> nn.Sequential:
    make = _fused if stage.fused else _separated
    units: dict[str, nn.Module] = {"unit1": make(in_width, stage)}
    for number in range(2, stage.units + 1):
        units[f"unit{number}"] = make(stage.width, stage._replace(stride=1))
    return chain(units)


def _fused(in_width: int, stage: _Stage) -> Unit:
    """Return a dense 3x3 that expands and a 1x1 that projects; without expansion, one 3x3."""
    inner = in_width * stage.expansion
    if stage.expansion == 1:
        body = _normed(conv(in_width, stage.width, 3, stride=stage.stride))
    else:
        body = chain(
            {
                "expand": _normed(conv(in_width, inner, 3, stride=stage.stride)),
                "project": _projected(inner, stage.width),
            }
        )
    return Unit(body, adds_input=stage.stride == 1 and in_width == stage.width)


def _separated(in_width: int, stage: _Stage) -> Unit:
    """Return 1x1 expansion, depthwise 3x3, squeeze and excitation, 1x1 projection."""
    inner = in_width * stage.expansion
    body = chain(
        {
            "expand": _normed(conv(in_width, inner, 1)),
            "depthwise": _normed(depthwise(inner, 3, stride=stage.stride)),
            "excite": SqueezeExcite(inner, max(1, int(in_width * _SQUEEZE_RATIO))),
            "project": _projected(inner, stage.width),
        }
    )
    return Unit(body, adds_input=stage.stride == 1 and in_width == stage.width)


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    norm = batchnorm(convolution.out_channels)
    return chain({"conv": convolution, "bn": norm, "silu": nn.SiLU()})


def _projected(in_width: int, out_width: int) -> nn.Sequential:
    return chain({"conv": conv(in_width, out_width, 1), "bn": batchnorm(out_width)})


def _scaled_width(width: int, multiplier: float) -> int:
    """Return the scaled width, to the nearest multiple of 8."""
    return max(8, int(width * multiplier + 4) // 8 * 8)
