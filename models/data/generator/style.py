"""What makes two boards look different: everything a board seed decides, drawn once per board.

Lengths are fractions of the tile's side (the square root of its area) unless named otherwise;
tones run from 0 (bare substrate under the mask) to 1 (copper under the mask).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.data.generator.geometry import chance

_BOARD_STREAM = 0xB0A2D

FIRST_FAR_BOARD = 1_000_000
"""Board seeds from here on are unlike all others: mask colours and a camera of their own.

Training draws none of them, so that a network meets on them what it meets in a factory: a kind of
photograph that it has never seen.
"""

Colour = tuple[float, float, float]

# Substrate and copper as seen through the mask; the greens were read off real photographs.
_GREENS: tuple[tuple[Colour, Colour], ...] = (
    ((3, 52, 6), (4, 95, 16)),
    ((3, 46, 10), (4, 97, 19)),
    ((6, 62, 14), (14, 112, 40)),
    ((10, 58, 34), (24, 108, 66)),
    ((20, 70, 30), (70, 140, 70)),
    ((8, 40, 14), (22, 76, 30)),
)
_OTHERS: tuple[tuple[Colour, Colour], ...] = (
    ((8, 24, 70), (20, 52, 128)),
    ((64, 10, 14), (128, 26, 30)),
    ((14, 14, 16), (40, 40, 42)),
    ((92, 84, 20), (150, 136, 44)),
    ((170, 168, 160), (206, 204, 196)),
    ((70, 58, 30), (190, 120, 70)),
)
# Masks that no board near the training ones wears.
_FAR_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    ((52, 20, 74), (104, 52, 138)),
    ((0, 52, 62), (14, 112, 124)),
    ((128, 52, 12), (206, 112, 44)),
    ((44, 46, 66), (98, 102, 128)),
)
_GREEN_SHARE = 0.75
_USUAL_GREEN_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class BoardStyle:
    """One board's looks and design rules. Made by `board_style`; every field varies by board."""

    substrate: Colour
    copper: Colour
    silver: Colour
    silk: Colour
    background: Colour
    via_ring: Colour
    void: Colour
    track_width: float
    track_gap: float
    pad_scale: float
    pad_pitch: float
    pad_shapes: tuple[str, ...]
    hole_ratio: float
    open_holes: bool
    diagonal_share: float
    pour_share: float
    clearance: float
    pour_fill: str
    fill_pitch: float
    silk_share: float
    via_share: float
    via_tinned: bool
    junction_share: float
    thermal_share: float
    legend_share: float
    speck_rate: float
    teardrop: bool
    aspect: float
    light_angle: float
    relief: float
    edge_tone: float
    shadow: float
    halo: float
    gradient: float
    white_balance: Colour
    exposure: float
    blur_px: float
    noise: float
    grain: float
    jpeg_quality: int
    flat_defects: float


@lru_cache(maxsize=4096)
def board_style(board_seed: int) -> BoardStyle:
    """Return the style of a board; the same seed gives the same board everywhere."""
    rng = np.random.default_rng((_BOARD_STREAM, board_seed))
    fields = {**_colours(rng), **_design(rng), **_camera(rng)}
    if board_seed >= FIRST_FAR_BOARD:
        fields |= {**_far_colours(rng), **_far_camera(rng)}
    return BoardStyle(**fields)  # type: ignore[arg-type]


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _around(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    wide: npt.NDArray[np.float64] = np.asarray(colour) * rng.normal(1.0, spread, 3)
    wide = np.clip(wide + rng.normal(0, 2, 3), 0, 255)
    return (float(wide[0]), float(wide[1]), float(wide[2]))


def _colours(rng: np.random.Generator) -> dict[str, object]:
    green = chance(rng, _GREEN_SHARE)
    table = _GREENS if green else _OTHERS
    usual = green and chance(rng, _USUAL_GREEN_SHARE)
    substrate, copper = table[int(rng.integers(2 if usual else len(table)))]
    return {
        "substrate": _around(rng, substrate, 0.08),
        "copper": _around(rng, copper, 0.08),
        "silver": _around(rng, (150, 146, 134), 0.06),
        "silk": _around(rng, (176, 184, 172), 0.06),
        "background": _around(rng, (158, 150, 160), 0.12),
        "via_ring": _around(rng, (120, 108, 40), 0.12),
        "void": _around(rng, (8, 36, 12) if chance(rng, 0.75) else substrate, 0.25),
        "white_balance": tuple(float(gain) for gain in rng.normal(1.0, 0.03, 3)),
    }


def _design(rng: np.random.Generator) -> dict[str, object]:
    shapes = ("round", "oval", "square", "rect")
    count = int(rng.integers(1, 4))
    return {
        "track_width": float(np.exp(rng.uniform(np.log(0.032), np.log(0.13)))),
        "track_gap": _uniform(rng, 0.45, 1.5),
        "pad_scale": _uniform(rng, 1.3, 2.4),
        "pad_pitch": _uniform(rng, 1.25, 1.9),
        "pad_shapes": tuple(str(s) for s in rng.choice(shapes, count, p=(0.5, 0.25, 0.15, 0.1))),
        "hole_ratio": _uniform(rng, 0.35, 0.6),
        "open_holes": chance(rng, 0.15),
        "diagonal_share": _uniform(rng, 0.0, 0.35),
        "pour_share": float(rng.choice((0.15, 0.6, 0.95))),
        "clearance": _uniform(rng, 0.35, 0.9),
        "pour_fill": str(rng.choice(("solid", "dots", "hatch"), p=(0.78, 0.16, 0.06))),
        "fill_pitch": _uniform(rng, 0.05, 0.1),
        "silk_share": float(rng.choice((0.0, 0.1, 0.4))),
        "via_share": _uniform(rng, 0.0, 0.6),
        "via_tinned": chance(rng, 0.5),
        "junction_share": float(rng.choice((0.0, 0.4, 0.9))),
        "thermal_share": float(rng.choice((0.0, 0.2, 0.7))),
        "legend_share": float(rng.choice((0.0, 0.0, 0.15))),
        "teardrop": chance(rng, 0.4),
        "aspect": float(np.exp(abs(rng.normal(0, 0.3)))),
    }


def _camera(rng: np.random.Generator) -> dict[str, object]:
    return {
        "light_angle": _uniform(rng, 0, 2 * np.pi),
        "relief": _uniform(rng, 0.0, 0.9),
        "edge_tone": _uniform(rng, -0.25, 0.35),
        "shadow": _uniform(rng, 0.0, 0.6),
        "halo": _uniform(rng, 0.2, 0.9),
        "gradient": _uniform(rng, 0.02, 0.2),
        "exposure": _uniform(rng, 0.75, 1.35),
        "blur_px": _uniform(rng, 0.0, 0.9),
        "noise": _uniform(rng, 1.0, 6.0),
        "grain": _uniform(rng, 0.0, 3.0),
        "jpeg_quality": int(rng.integers(60, 98)),
        "speck_rate": float(rng.choice((0.0, 0.5, 3.0))),
        "flat_defects": float(rng.choice((0.3, 0.9))),
    }


def _far_colours(rng: np.random.Generator) -> dict[str, object]:
    substrate, copper = _FAR_COLOURS[int(rng.integers(len(_FAR_COLOURS)))]
    return {
        "substrate": _around(rng, substrate, 0.15),
        "copper": _around(rng, copper, 0.15),
        "white_balance": tuple(float(gain) for gain in rng.normal(1.0, 0.1, 3)),
    }


def _far_camera(rng: np.random.Generator) -> dict[str, object]:
    dark = chance(rng, 0.5)
    return {
        "gradient": _uniform(rng, 0.2, 0.4),
        "exposure": _uniform(rng, 0.5, 0.75) if dark else _uniform(rng, 1.35, 1.7),
        "blur_px": _uniform(rng, 0.9, 1.6),
        "noise": _uniform(rng, 6.0, 10.0),
        "grain": _uniform(rng, 3.0, 5.0),
        "jpeg_quality": int(rng.integers(35, 60)),
    }
