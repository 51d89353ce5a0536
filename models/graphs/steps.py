"""The flat list of typed steps that a network is traced into.

A step reads named values and writes one. It holds names of parameters, never their numbers, and
static facts only. Shapes are per image, without the batch dimension: (C, H, W) or (F,).
"""

from dataclasses import dataclass
from typing import Literal

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
Shape = tuple[int, ...]
ActivationKind = Literal["relu", "relu6", "silu", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """``inputs`` are value names in order; ``output`` is the one value written."""

    inputs: tuple[str, ...]
    output: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what may train."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Norm:
    """The parameters and statistics of a BatchNorm, by name."""

    weight: str
    bias: str
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Conv(Step):
    """A convolution with what directly surrounds it.

    ``gains`` is the weight of a 1x1 depthwise convolution before a pointwise one: a factor for
    each input channel. ``norm`` is the BatchNorm after it. ``pads`` are top, left, bottom, right.
    ``groups`` is 1, or the number of channels (depthwise).
    """

    gains: str | None = None
    weight: str
    bias: str | None
    norm: Norm | None
    kernel: Pair
    stride: Pair
    pads: Pads
    groups: int

    @property
    def parameters(self) -> tuple[str, ...]:
        bias = () if self.bias is None else (self.bias,)
        norm = () if self.norm is None else (self.norm.weight, self.norm.bias)
        gains = () if self.gains is None else (self.gains,)
        return (*gains, self.weight, *bias, *norm)

    @property
    def is_pointwise(self) -> bool:
        """Whether it only mixes channels: 1x1, without padding; it may skip pixels."""
        return self.kernel == (1, 1) and self.groups == 1 and not any(self.pads)

    @property
    def is_channelwise(self) -> bool:
        """Whether it only multiplies each channel: 1x1 depthwise, without padding."""
        return self.kernel == (1, 1) and self.groups > 1 and not any(self.pads)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Step):
    """A BatchNorm that follows no convolution."""

    norm: Norm

    @property
    def parameters(self) -> tuple[str, ...]:
        return (self.norm.weight, self.norm.bias)


@dataclass(frozen=True, kw_only=True)
class Linear(Step):
    weight: str
    bias: str | None

    @property
    def parameters(self) -> tuple[str, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class Activation(Step):
    kind: ActivationKind


@dataclass(frozen=True, kw_only=True)
class MaxPool(Step):
    kernel: Pair
    stride: Pair
    pads: Pads


@dataclass(frozen=True, kw_only=True)
class Pad(Step):
    """Zeros around the image: top, left, bottom, right."""

    pads: Pads


@dataclass(frozen=True, kw_only=True)
class GlobalPool(Step):
    """The mean over all pixels: (C, H, W) to (C, 1, 1)."""


@dataclass(frozen=True, kw_only=True)
class GlobalMaxPool(Step):
    """The largest of all pixels: (C, H, W) to (C, 1, 1)."""


@dataclass(frozen=True, kw_only=True)
class Flatten(Step):
    pass


@dataclass(frozen=True, kw_only=True)
class Dropout(Step):
    """A product with the ``dropout_mask`` input; the identity in an inference graph."""


@dataclass(frozen=True, kw_only=True)
class Add(Step):
    pass


@dataclass(frozen=True, kw_only=True)
class Multiply(Step):
    """A product of two values of one shape, or of an image and one factor per channel."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A network as steps. ``shapes`` has every value's and every parameter's shape."""

    steps: tuple[Step, ...]
    shapes: dict[str, Shape]
    source: str
    features: str
    logits: str

    @property
    def has_dropout(self) -> bool:
        return any(isinstance(step, Dropout) for step in self.steps)
