"""How the training pool looks: the spread of a few image statistics, for a release's variants.

A box holds its own images against them (``device_agent.quality``), by the same formulas on the same
size; a test holds the two together. Deterministic: the same pool gives the same numbers. It reads
at most 4,000 tiles, evenly spaced through the pool, as they lie there: what training does to their
light on top is not counted, so a box hears of a shift a little early rather than late.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.reference import (
    BINS,
    DEFINITION,
    STATISTICS,
    STATISTICS_PX,
    ReferenceStatistics,
    StatisticSpread,
)
from models.data.pool import Pool
from models.measure import VariantFiles

Pixels = npt.NDArray[np.uint8]

MOST_TILES = 4000
_DIGITS = 4
_FIRST = 0.01
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_SHADOW, _LIGHT = 1, 99
_MEAN_SHARE = 0.3


class NoTilesError(ValueError):
    """A pool without a tile: nothing can be said of it."""

    def __init__(self) -> None:
        super().__init__("there is no tile to take the statistics of: make the pool first")


def reference_of_pool(pool: Pool, px: int) -> ReferenceStatistics:
    """Return the reference of a pool's training tiles; ``px`` is the size that it was made at."""
    images = pool.training(px).images
    return reference_of(images[row] for row in evenly_spaced(len(images), MOST_TILES))


def with_reference(
    variants: Sequence[VariantFiles], reference: ReferenceStatistics
) -> list[VariantFiles]:
    """Return the variants with the reference of the pool that they were all trained on."""
    return [
        replace(files, variant=files.variant.model_copy(update={"reference": reference}))
        for files in variants
    ]


def evenly_spaced(n: int, most: int) -> list[int]:
    """Return at most ``most`` of ``n`` rows, the same ones every time."""
    return [int(row) for row in np.unique(np.linspace(0, n - 1, min(n, most)).round())]


def reference_of(images: Iterable[Pixels]) -> ReferenceStatistics:
    """Return the reference of images uint8 [h, w, 3], one in memory at a time.

    Raises NoTilesError.
    """
    rows = [list(statistics_of(image).values()) for image in images]
    if not rows:
        raise NoTilesError
    columns = np.array(rows).T
    spreads = [spread(name, column) for name, column in zip(STATISTICS, columns, strict=True)]
    return ReferenceStatistics(definition=DEFINITION, n=len(rows), statistics=tuple(spreads))


def spread(name: str, values: npt.NDArray[np.float64]) -> StatisticSpread:
    """Return the edges and the share in each bin; a value on an edge falls into the upper bin."""
    at = [_FIRST, *np.linspace(0, 1, BINS + 1)[1:-1], 1 - _FIRST]
    edges = [_rounded(edge) for edge in np.quantile(values, at)]
    bins = np.searchsorted(edges[1:-1], values, side="right")
    counts = np.bincount(bins, minlength=BINS)
    shares = tuple(round(float(count) / len(values), _DIGITS) for count in counts)
    return StatisticSpread(name=name, edges=tuple(edges), shares=shares)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def statistics_of(image: Pixels) -> dict[str, float]:
    """Return every statistic of uint8 [h, w, 3], stretched to 128 px as a box does it.

    ``brightness``, ``contrast``: mean and standard deviation of grey, 0 to 255; ``darkest``,
    ``brightest``: its 1st and 99th percentile. ``sharpness``: log of 1 plus the variance of the
    Laplacian. ``saturation``: mean of HSV's, 0 to 1. ``colourfulness``: Hasler and Suesstrunk 2003.
    ``warmth``: mean red less mean blue.
    """
    small = _stretched(image)
    colour = small.astype(np.float32)
    grey = colour @ _GREY
    darkest, brightest = np.percentile(grey, (_SHADOW, _LIGHT))
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    most, least = small.max(axis=2).astype(np.float32), small.min(axis=2).astype(np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    mean = np.hypot(red_green.mean(), yellow_blue.mean())
    found = (
        grey.mean(),
        grey.std(),
        darkest,
        brightest,
        np.log1p((around - 4 * grey[1:-1, 1:-1]).var()),
        ((most - least) / np.maximum(most, 1)).mean(),
        np.hypot(red_green.std(), yellow_blue.std()) + _MEAN_SHARE * mean,
        red.mean() - blue.mean(),
    )
    return dict(zip(STATISTICS, map(float, found), strict=True))


def _stretched(image: Pixels) -> Pixels:
    square = (STATISTICS_PX, STATISTICS_PX)
    small = Image.fromarray(image).resize(square, Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8)
