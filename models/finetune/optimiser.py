"""SGD with momentum and Adam, in place on one flat float32 vector, as torch.optim computes them.

SGD: momentum 0.9, no dampening, first step takes the gradient as velocity (torch.optim.SGD).
Adam: betas 0.9 and 0.999, epsilon 1e-8 (Kingma and Ba 2015, torch.optim.Adam). No weight decay.
They work through the vector in blocks, so that temporaries stay in the processor's cache and cost
no memory. The learning rate comes with every step: schedules live elsewhere.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from models.finetune.parameters import Floats

_BLOCK = 32_768
_MOMENTUM = np.float32(0.9)
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class Optimiser(Protocol):
    """``state`` maps a name to a vector as long as the parameters; ``steps`` counts updates."""

    state: dict[str, Floats]
    steps: int

    def step(self, parameters: Floats, gradients: Floats, learning_rate: float) -> None:
        """Update ``parameters`` in place; ``gradients`` may be overwritten."""


class Sgd:
    """v = 0.9 v + g; p = p - rate * v."""

    def __init__(self, size: int) -> None:
        self.state = {"velocity": np.zeros(size, np.float32)}
        self.steps = 0

    def step(self, parameters: Floats, gradients: Floats, learning_rate: float) -> None:
        """Update ``parameters`` in place."""
        self.steps += 1
        rate = np.float32(learning_rate)
        for at in _blocks(parameters.size):
            velocity = self.state["velocity"][at]
            velocity *= _MOMENTUM
            velocity += gradients[at]
            parameters[at] -= rate * velocity


class Adam:
    """Moments with bias correction, in the order of operations of torch.optim.Adam."""

    def __init__(self, size: int) -> None:
        self.state = {
            "mean": np.zeros(size, np.float32),
            "square": np.zeros(size, np.float32),
        }
        self.steps = 0

    def step(self, parameters: Floats, gradients: Floats, learning_rate: float) -> None:
        """Update ``parameters`` in place."""
        self.steps += 1
        rate = np.float32(learning_rate / (1 - _BETA_1**self.steps))
        root_correction = np.float32(math.sqrt(1 - _BETA_2**self.steps))
        for at in _blocks(parameters.size):
            gradient = gradients[at]
            mean, square = self.state["mean"][at], self.state["square"][at]
            mean += np.float32(1 - _BETA_1) * (gradient - mean)
            square *= np.float32(_BETA_2)
            square += np.float32(1 - _BETA_2) * np.square(gradient)
            scale = np.sqrt(square)
            scale /= root_correction
            scale += np.float32(_EPSILON)
            parameters[at] -= rate * (mean / scale)


OPTIMISERS: dict[str, type[Sgd] | type[Adam]] = {"sgd": Sgd, "adam": Adam}


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, _BLOCK):
        yield slice(start, min(start + _BLOCK, size))
