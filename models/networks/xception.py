"""Xception (Chollet 2017), the optimised Xception (Mih et al. 2024) and every reduction of them.

One class for all: the spec says how wide, how deep and with which kernels. It reads like the
figure of the paper: stem, entry flow, middle flow, exit, tail, head. A separable convolution is
depthwise, then pointwise, then BatchNorm; where the spec wants biases it has one, after the
pointwise half, as in Keras. The first entry block has no ReLU of its own: the stem ends in one,
and applying it twice changes nothing but the memory it takes.
"""

from itertools import pairwise

import torch
from torch import nn

from contract.architecture import XceptionSpec
from models.networks.blocks import Network, batchnorm, chain, conv, depthwise, pooling


class Xception(Network):
    """The network of an ``XceptionSpec``: blocks stem, entry1.., middle1.., exit, tail, head."""

    def __init__(self, spec: XceptionSpec) -> None:
        super().__init__(spec)
        self.add_block("stem", _stem(spec))
        entry_inputs = (spec.stem_widths[1], *spec.entry_widths)
        for number, (in_width, width) in enumerate(pairwise(entry_inputs), start=1):
            self.add_block(f"entry{number}", _entry(spec, in_width, width, first=number == 1))
        for number in range(1, spec.middle_depth + 1):
            self.add_block(f"middle{number}", _middle(spec))
        self.add_block("exit", _exit(spec))
        self.add_block("tail", _tail(spec))
        self.add_head(spec.tail_widths[-1])


class Residual(nn.Module):
    """The sum of a body and a shortcut; without a shortcut, of a body and its input."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bypass = x if self.shortcut is None else self.shortcut(x)
        total: torch.Tensor = self.body(x) + bypass
        return total


def _stem(spec: XceptionSpec) -> nn.Sequential:
    padding = 1 if spec.stem_padding == "same" else 0
    first, second = spec.stem_widths
    return chain(
        {
            "conv1": nn.Conv2d(spec.in_channels, first, 3, 2, padding, bias=spec.conv_bias),
            "bn1": batchnorm(first),
            "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(first, second, 3, 1, padding, bias=spec.conv_bias),
            "bn2": batchnorm(second),
            "relu2": nn.ReLU(),
        }
    )


def _entry(spec: XceptionSpec, in_width: int, width: int, *, first: bool) -> Residual:
    body = _separables(spec, (in_width, width, width), spec.entry_kernels)
    if first:
        del body["relu1"]
    body["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return Residual(chain(body), _shortcut(spec, in_width, width, kernel=1))


def _middle(spec: XceptionSpec) -> Residual:
    widths = (spec.entry_widths[-1], *spec.middle_widths)
    return Residual(chain(_separables(spec, widths, spec.middle_kernels)))


def _exit(spec: XceptionSpec) -> Residual:
    in_width = spec.entry_widths[-1]
    body = _separables(spec, (in_width, *spec.exit_widths), spec.exit_kernels)
    body["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    shortcut = _shortcut(spec, in_width, spec.exit_widths[1], kernel=spec.exit_shortcut_kernel)
    return Residual(chain(body), shortcut)


def _tail(spec: XceptionSpec) -> nn.Sequential:
    layers: dict[str, nn.Module] = {}
    inputs = (spec.exit_widths[1], *spec.tail_widths)
    for number, (in_width, width) in enumerate(pairwise(inputs), start=1):
        layers[f"sep{number}"] = _separable(in_width, width, 3, bias=spec.conv_bias)
        layers[f"relu{number}"] = nn.ReLU()
    return chain(layers | pooling(spec.head_pool))


def _separables(
    spec: XceptionSpec, widths: tuple[int, ...], kernels: tuple[int, ...]
) -> dict[str, nn.Module]:
    """Return ReLU and separable convolution, as often as there are kernels."""
    layers: dict[str, nn.Module] = {}
    steps = zip(pairwise(widths), kernels, strict=True)
    for number, ((in_width, out_width), kernel) in enumerate(steps, start=1):
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"sep{number}"] = _separable(in_width, out_width, kernel, bias=spec.conv_bias)
    return layers


def _separable(in_width: int, out_width: int, kernel: int, *, bias: bool) -> nn.Sequential:
    return chain(
        {
            "depthwise": depthwise(in_width, kernel),
            "pointwise": conv(in_width, out_width, 1, bias=bias),
            "bn": batchnorm(out_width),
        }
    )


def _shortcut(spec: XceptionSpec, in_width: int, out_width: int, *, kernel: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "conv": conv(in_width, out_width, kernel, stride=2, bias=spec.conv_bias)
    }
    if spec.shortcut_batchnorm:
        layers["bn"] = batchnorm(out_width)
    return chain(layers)
