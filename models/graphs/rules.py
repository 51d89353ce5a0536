"""The table of rules: how each kind of step is computed, and how its gradient is."""

from collections.abc import Callable
from typing import Any

from models.graphs import convolution, layers
from models.graphs.emission import Emission
from models.graphs.steps import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalMaxPool,
    GlobalPool,
    Linear,
    MaxPool,
    Multiply,
    Pad,
    Step,
)

# The tables pair each class with rules for exactly that class, which a dict type cannot say.
Forward = Callable[[Emission, Any], None]
Backward = Callable[[Emission, Any, str], None]

FORWARD: dict[type[Step], Forward] = {
    Conv: convolution.forward,
    BatchNorm: layers.batchnorm_forward,
    Linear: layers.linear_forward,
    Activation: layers.activation_forward,
    MaxPool: layers.maxpool_forward,
    Pad: layers.pad_forward,
    GlobalPool: layers.global_pool_forward,
    GlobalMaxPool: layers.global_max_pool_forward,
    Flatten: layers.flatten_forward,
    Dropout: layers.dropout_forward,
    Add: layers.add_forward,
    Multiply: layers.multiply_forward,
}
BACKWARD: dict[type[Step], Backward] = {
    Conv: convolution.backward,
    BatchNorm: layers.batchnorm_backward,
    Linear: layers.linear_backward,
    Activation: layers.activation_backward,
    MaxPool: layers.maxpool_backward,
    Pad: layers.pad_backward,
    GlobalPool: layers.global_pool_backward,
    GlobalMaxPool: layers.global_max_pool_backward,
    Flatten: layers.flatten_backward,
    Dropout: layers.dropout_backward,
    Add: layers.add_backward,
    Multiply: layers.multiply_backward,
}
