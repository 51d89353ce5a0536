"""How the images that a release was trained on look, in a few statistics.

A box holds its own images against them. The statistics are defined by ``definition``: lab and box
compute them by the same formulas, and a box that knows another definition does not compare.
"""

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from contract.base import Fraction, Message, Name, Positive

BINS = 10
DEFINITION = 1
"""Of the image statistics: raised whenever a formula or the size that it works on changes."""
STATISTICS_PX = 128
"""The side in pixels that an image is stretched to before it is looked at."""
STATISTICS = (
    "brightness",
    "contrast",
    "darkest",
    "brightest",
    "sharpness",
    "saturation",
    "colourfulness",
    "warmth",
)
_ROUNDING = 1e-3

Edge = Annotated[float, Field(ge=-1e9, le=1e9)]


class StatisticSpread(Message):
    """How one statistic is spread over the training images, in ten bins.

    ``edges`` are the 1st percentile, the nine deciles and the 99th percentile; ``shares`` is what
    lies in each bin, the outer ones open: a tenth, but where many values are equal.
    """

    name: Name
    edges: Annotated[tuple[Edge, ...], Field(min_length=BINS + 1, max_length=BINS + 1)]
    shares: Annotated[tuple[Fraction, ...], Field(min_length=BINS, max_length=BINS)]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if any(low > high for low, high in pairwise(self.edges)):
            message = "edges must not fall"
            raise ValueError(message)
        if abs(sum(self.shares) - 1.0) > BINS * _ROUNDING:
            message = "shares must sum to 1"
            raise ValueError(message)
        return self


class ReferenceStatistics(Message):
    """The spreads over ``n`` training images."""

    definition: Positive
    n: Positive
    statistics: Annotated[tuple[StatisticSpread, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if len({spread.name for spread in self.statistics}) < len(self.statistics):
            message = "a statistic stands there twice"
            raise ValueError(message)
        return self
