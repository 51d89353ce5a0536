"""The networks in torch: what a spec means. Importing this imports torch, so only the lab may.

It defines networks and names their tensors; training, exporting and measuring live beside it.
"""

from models.networks.blocks import Network
from models.networks.cuts import (
    UnknownCutError,
    blocks_from,
    frozen_names,
    parameter_count,
    trainable_names,
)
from models.networks.families import build
from models.networks.registry import (
    NETWORKS,
    STARTER,
    DuplicateNetworkError,
    UnknownNetworkError,
    network_spec,
)

__all__ = [
    "NETWORKS",
    "STARTER",
    "DuplicateNetworkError",
    "Network",
    "UnknownCutError",
    "UnknownNetworkError",
    "blocks_from",
    "build",
    "frozen_names",
    "network_spec",
    "parameter_count",
    "trainable_names",
]
