"""From a spec to its network: the one place that knows which family has which class."""

from typing import assert_never

import torch

from contract.architecture import (
    ArchitectureSpec,
    EfficientNetV2Spec,
    MobileNetV2Spec,
    XceptionSpec,
)
from models.networks.blocks import Network, initialise
from models.networks.efficientnetv2 import EfficientNetV2
from models.networks.mobilenetv2 import MobileNetV2
from models.networks.xception import Xception


def build(spec: ArchitectureSpec, *, channels_last: bool = False) -> Network:
    """Return the spec's network with fresh weights, in training mode.

    With ``channels_last`` the convolutions' weights, and so all activations, have channels as
    their innermost dimension; training on a CPU is then 1.3 to 1.5 times as fast. Names, shapes
    and results do not change. Seed torch first for repeatable weights.
    """
    network = _network_of(spec)
    initialise(network)
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return network


def _network_of(spec: ArchitectureSpec) -> Network:
    match spec:
        case XceptionSpec():
            return Xception(spec)
        case EfficientNetV2Spec():
            return EfficientNetV2(spec)
        case MobileNetV2Spec():
            return MobileNetV2(spec)
        case _:
            assert_never(spec)
