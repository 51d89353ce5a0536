"""Other light, cameras and masks for the tiles that a network trains on, drawn anew each step.

``near`` varies what the generator varies already. ``wide`` goes further than any training board:
exposure, colour, softness, noise, masks of another colour. It costs a little accuracy on boards
like the training ones and gains some on all others, which are what a factory has.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Light = Literal["near", "wide"]

_LOG_EXPOSURE = (math.log(0.5), math.log(1.7))
_COLOUR_SPREAD, _OFFSET = 0.15, 0.08
_SOFTNESS, _NOISE = (-0.7, 1.0), 0.04
_OTHER_MASK_SHARE = 0.3


def relight(images: Tensor, light: Light, rng: np.random.Generator) -> Tensor:
    """Return ``images`` float [N, 3, H, W] in [-1, 1] under other light; they may be overwritten.

    The same ``rng`` state gives the same pictures.
    """
    return _LIGHTS[light](images, rng)


def _near(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift the light and contrast of every picture and channel a little."""
    shape = (len(images), 3, 1, 1)
    gain = _tensor(rng.uniform(0.85, 1.15, shape))
    return images.mul_(gain).add_(_tensor(rng.uniform(-0.1, 0.1, shape))).clamp_(-1.0, 1.0)


def _wide(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Change exposure, colour balance, softness, noise, and for some pictures the mask's colour."""
    one, each = (len(images), 1, 1, 1), (len(images), 3, 1, 1)
    gain = np.exp(rng.uniform(*_LOG_EXPOSURE, one) + rng.normal(0, _COLOUR_SPREAD, each))
    shown = images.add_(1.0).mul_(0.5).mul_(_tensor(gain))
    shown.add_(_tensor(rng.uniform(-_OFFSET, _OFFSET, each)))
    softness = _tensor(np.maximum(0, rng.uniform(*_SOFTNESS, one)))
    blurred = F.avg_pool2d(shown, 3, 1, 1, count_include_pad=False)
    shown.add_(blurred.sub_(shown).mul_(softness))
    noise = np.maximum(0, rng.uniform(-_NOISE, _NOISE, one))
    shown.add_(_tensor(rng.standard_normal(shown.shape, np.float32) * noise))
    for row in np.flatnonzero(rng.random(len(images)) < _OTHER_MASK_SHARE):
        shown[row] = shown[row][torch.from_numpy(rng.permutation(3))]
    return shown.clamp_(0.0, 1.0).mul_(2.0).sub_(1.0)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


_LIGHTS: dict[Light, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "near": _near,
    "wide": _wide,
}
