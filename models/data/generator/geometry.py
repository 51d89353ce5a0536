"""Polylines with 45 degree bends: walking them, shifting them sideways, drawing them.

Points are (x, y) in canvas pixels. Pure, and it knows nothing of boards.
"""

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

_EIGHTH = np.pi / 4
_SUBPIXEL_BITS = 4


def chance(rng: np.random.Generator, share: float) -> bool:
    """Return True in ``share`` of the draws."""
    return bool(rng.random() < share)


def direction(eighths: int) -> Points:
    """Return the unit vector at ``eighths`` * 45 degrees."""
    return np.array([np.cos(eighths * _EIGHTH), np.sin(eighths * _EIGHTH)])


def walk(start: Points, heading: int, legs_px: list[float], turns: list[int]) -> Points:
    """Return the polyline that goes ``legs_px`` in turn, bending ``turns`` eighths in between."""
    points = [np.asarray(start, dtype=np.float64)]
    for number, leg in enumerate(legs_px):
        points.append(points[-1] + leg * direction(heading))
        if number < len(turns):
            heading += turns[number]
    return np.array(points)


def shifted(line: Points, offset_px: float) -> Points:
    """Return the parallel polyline ``offset_px`` to the side, mitred at its bends."""
    steps = np.diff(line, axis=0)
    steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    before = np.concatenate([normals[:1], normals])
    after = np.concatenate([normals, normals[-1:]])
    dot = np.sum(before * after, axis=1, keepdims=True)
    moved: Points = line + offset_px * (before + after) / np.maximum(1 + dot, 0.2)
    return moved


def draw_line(mask: Mask, line: Points, width_px: float, value: int = 255) -> None:
    """Draw a polyline with round ends and joints, as wide as the nearest odd number of pixels."""
    fixed = np.round(line * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    pen = _pen(width_px)
    cv2.polylines(mask, [fixed], isClosed=False, color=value, thickness=pen, shift=_SUBPIXEL_BITS)


def _pen(width_px: float) -> int:
    """Return the thickness with which OpenCV 5 draws ``width_px``: from 3 px on it adds one."""
    return max(1, 2 * round((width_px - 3) / 2) + 2)


def draw_polygon(mask: Mask, corners: Points, value: int = 255) -> None:
    """Fill a convex polygon."""
    fixed = np.round(corners * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, value, shift=_SUBPIXEL_BITS)


def bar(centre: Points, along: Points, length_px: float, width_px: float) -> Points:
    """Return the corners of a rectangle, ``length_px`` along the unit vector ``along``."""
    half, side = along * length_px / 2, np.array([-along[1], along[0]]) * width_px / 2
    return np.array([centre - half - side, centre + half - side, centre + half + side,
                     centre - half + side])  # fmt: skip


def draw_disc(mask: Mask, centre: Points, radius_px: float, value: int = 255) -> None:
    """Fill a circle."""
    scale = 1 << _SUBPIXEL_BITS
    where = (round(float(centre[0]) * scale), round(float(centre[1]) * scale))
    radius = max(scale // 2, round(radius_px * scale))
    cv2.circle(mask, where, radius, value, -1, shift=_SUBPIXEL_BITS)


def draw_blob(mask: Mask, centre: Points, radius_px: float, rng: np.random.Generator,
              value: int = 255) -> None:  # fmt: skip
    """Fill an irregular, roughly round patch, as etching leaves it."""
    angles = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    radii = radius_px * rng.uniform(0.7, 1.3, 9)
    corners = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    fixed = np.round(corners * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], value, shift=_SUBPIXEL_BITS)
