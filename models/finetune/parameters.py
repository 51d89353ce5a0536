"""Named float32 tensors that lie side by side in one flat vector.

The training session reads parameters and writes gradients straight through the views, and the
optimiser works on the flat vector, so that neither needs copies. No arithmetic here.
"""

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]


class FlatTensors:
    """``views[name]`` is a writable window of ``flat``, in the order of ``shapes``."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.flat: Floats = np.zeros(sum(sizes), np.float32)
        self.views: dict[str, Floats] = {}
        start = 0
        for (name, shape), size in zip(self.shapes.items(), sizes, strict=True):
            self.views[name] = self.flat[start : start + size].reshape(shape)
            start += size

    @classmethod
    def copied_from(cls, tensors: Mapping[str, Floats]) -> Self:
        """Return a flat copy of ``tensors``."""
        made = cls({name: array.shape for name, array in tensors.items()})
        for name, array in tensors.items():
            made.views[name][...] = array
        return made
