"""A few statistics of an image that a person can name, and the lab knows of its training images.

They are defined on uint8 [128, 128, 3], RGB, stretched as for training. ``models.reference`` holds
the same formulas for the release's side; a test holds the two together. Whoever changes one raises
``contract.reference.DEFINITION``.
"""

import numpy as np
import numpy.typing as npt

from contract.reference import STATISTICS

Pixels = npt.NDArray[np.uint8]

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_SHADOW, _LIGHT = 1, 99
_MEAN_SHARE = 0.3


def statistics_of(image: Pixels) -> dict[str, float]:
    """Return every statistic of uint8 [128, 128, 3].

    ``brightness``, ``contrast``: mean and standard deviation of grey, 0 to 255; ``darkest``,
    ``brightest``: its 1st and 99th percentile. ``sharpness``: log of 1 plus the variance of the
    Laplacian. ``saturation``: mean of HSV's, 0 to 1. ``colourfulness``: Hasler and Suesstrunk 2003.
    ``warmth``: mean red less mean blue.
    """
    colour = image.astype(np.float32)
    grey = colour @ _GREY
    darkest, brightest = np.percentile(grey, (_SHADOW, _LIGHT))
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    most, least = image.max(axis=2).astype(np.float32), image.min(axis=2).astype(np.float32)
    found = (
        grey.mean(),
        grey.std(),
        darkest,
        brightest,
        np.log1p(_laplacian(grey).var()),
        ((most - least) / np.maximum(most, 1)).mean(),
        _colourfulness(red - green, (red + green) / 2 - blue),
        red.mean() - blue.mean(),
    )
    return dict(zip(STATISTICS, map(float, found), strict=True))


def _laplacian(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges: npt.NDArray[np.float32] = around - 4 * grey[1:-1, 1:-1]
    return edges


def _colourfulness(
    red_green: npt.NDArray[np.floating], yellow_blue: npt.NDArray[np.floating]
) -> float:
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + _MEAN_SHARE * np.hypot(red_green.mean(), yellow_blue.mean()))
