"""What a network is: family, widths, kernels, depth, input size and channels.

A spec is a value: hashable, and its hash names the network. It says nothing about weights. Every
field of every spec changes the network that ``models.networks`` builds from it; a test asserts so.
Counts and shapes: Chollet 2017 (Xception), Mih et al. 2024 (optimised Xception), Tan and Le 2021
(EfficientNetV2), Sandler et al. 2018 (MobileNetV2).
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from contract.base import Message

Width = Annotated[int, Field(ge=4, le=4096)]
Kernel = Literal[1, 3]
HeadPool = Literal["average", "average_max"]
"""How the last feature map becomes features: its mean, or its mean plus its largest value (which
a defect of a few pixels does not drown in)."""


class _Spec(Message):
    input_px: Annotated[int, Field(ge=32, le=512)]
    in_channels: Annotated[int, Field(ge=1, le=6)] = 3
    head_units: Annotated[int, Field(ge=1, le=1000)]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class XceptionSpec(_Spec):
    """Xception and every horizontal reduction of it.

    Each residual block is a list of separable convolutions, given by their widths and kernels.
    The middle flow repeats one block ``middle_depth`` times; its last width equals the last entry
    width, because its shortcut is the identity.
    """

    family: Literal["xception"] = "xception"
    stem_widths: tuple[Width, Width] = (32, 64)
    stem_padding: Literal["valid", "same"] = "valid"
    entry_widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (128, 256, 728)
    entry_kernels: tuple[Kernel, Kernel] = (3, 3)
    middle_depth: Annotated[int, Field(ge=0, le=16)] = 8
    middle_widths: tuple[Width, ...] = (728, 728, 728)
    middle_kernels: tuple[Kernel, ...] = (3, 3, 3)
    exit_widths: tuple[Width, Width] = (728, 1024)
    exit_kernels: tuple[Kernel, Kernel] = (3, 3)
    exit_shortcut_kernel: Kernel = 1
    head_pool: HeadPool = "average"
    tail_widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (1536, 2048)
    shortcut_batchnorm: bool = True
    conv_bias: bool = False

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        if len(self.middle_widths) != len(self.middle_kernels):
            message = "middle_widths and middle_kernels must have the same length"
            raise ValueError(message)
        if self.middle_depth and self.middle_widths[-1:] != self.entry_widths[-1:]:
            message = "the last middle width must equal the last entry width (identity shortcut)"
            raise ValueError(message)
        return self


class EfficientNetV2Spec(_Spec):
    """EfficientNetV2-B0 scaled by two multipliers; B1 is width 1.0 and depth 1.1."""

    family: Literal["efficientnetv2"] = "efficientnetv2"
    width_multiplier: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0
    depth_multiplier: Annotated[float, Field(gt=0.0, le=4.0)] = 1.1


class MobileNetV2Spec(_Spec):
    """MobileNetV2 scaled by its width multiplier."""

    family: Literal["mobilenetv2"] = "mobilenetv2"
    width_multiplier: Annotated[float, Field(gt=0.0, le=4.0)] = 1.0


ArchitectureSpec = Annotated[
    XceptionSpec | EfficientNetV2Spec | MobileNetV2Spec, Field(discriminator="family")
]
SPEC_ADAPTER: TypeAdapter[ArchitectureSpec] = TypeAdapter(ArchitectureSpec)


def spec_hash(spec: ArchitectureSpec) -> str:
    """Return the SHA-256 (hex) of the spec's canonical JSON: the network's name."""
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
