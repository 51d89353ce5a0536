"""Photographs a tile: masks in, RGB out, under a board's colours, light and camera.

It knows nothing of layouts: masks scanned from elsewhere can be photographed as well. Every step
is an array operation over the whole tile, so its cost does not depend on what the tile shows.
"""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from models.data.generator.canvas import Masks
from models.data.generator.geometry import Mask, chance
from models.data.generator.style import BoardStyle

Plane = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_HIGHLIGHT = np.array([105, 105, 70], np.float32).reshape(3, 1, 1)
_NOISE_STREAM = 0x5EED
_LEAST_BLUR_PX = 0.25
_JPEG_SHARE = 0.5


def render(masks: Masks, style: BoardStyle, rng: np.random.Generator, px: int) -> Image:
    """Return the photograph, uint8 [px, px, 3], RGB; the masks are stretched to the square."""
    image = _board(masks, style, rng, px)
    for layer in (_tin, _vias, _print, _background):
        layer(image, masks, style, rng)
    return _camera(image, style, rng)


def _plane(mask: Mask, px: int) -> Plane | None:
    """Return the mask at the photograph's size, 0 to 1; None where there is nothing on it."""
    if not cv2.countNonZero(mask):
        return None
    small = cv2.resize(mask, (px, px), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) * np.float32(1 / 255)


def _blur(plane: npt.NDArray[np.float32], sigma_px: float) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), sigma_px).astype(np.float32, copy=False)


def _slope(plane: Plane, angle: float) -> Plane:
    """Return the directional derivative towards the light: positive on the lit side."""
    x, y = np.cos(angle) / 8, np.sin(angle) / 8
    kernel = np.array([[-x - y, -2 * y, x - y], [-2 * x, 0, 2 * x], [y - x, 2 * y, x + y]])
    return cv2.filter2D(plane, cv2.CV_32F, kernel.astype(np.float32)).astype(np.float32, copy=False)


def _blend(image: Plane, colour: Plane, alpha: Plane) -> None:
    """Lay ``colour`` over ``image`` where ``alpha`` is 1, in place."""
    image += (colour - image) * alpha


def _colour(values: tuple[float, float, float]) -> Plane:
    return np.array(values, np.float32).reshape(3, 1, 1)


@lru_cache(maxsize=8)
def _noise_bank(px: int, sigma_px: float) -> Plane:
    """Return the sheet of noise that every tile cuts a piece from: drawing anew is slow."""
    rng = np.random.default_rng((_NOISE_STREAM, px))
    sheet = rng.standard_normal((px + 192, px + 192, 3), dtype=np.float32)
    if sigma_px > 0:
        sheet = _blur(sheet, sigma_px)
        sheet /= sheet.std()
    return sheet


def _noise(px: int, sigma_px: float, rng: np.random.Generator) -> Plane:
    x, y = (int(v) for v in rng.integers(192, size=2))
    return _noise_bank(px, sigma_px)[y : y + px, x : x + px]


def _board(masks: Masks, style: BoardStyle, rng: np.random.Generator, px: int) -> Plane:
    """Substrate and copper under the mask, with the relief of the copper's edges."""
    copper = _plane(masks.copper, px)
    if copper is None:
        copper = np.zeros((px, px), np.float32)
    slope = _slope(_blur(copper, 0.6), style.light_angle) * np.float32(2 * style.relief)
    soft = _blur(copper, 0.9)
    tone = copper + np.float32(4 * style.edge_tone) * soft * (1 - soft)
    tone -= np.float32(style.shadow) * _blur(copper, 0.03 * px) * (1 - copper)
    patch = _plane(masks.patch, px)
    flat, other_tone = chance(rng, style.flat_defects), np.float32(rng.normal(0, 0.12))
    if patch is not None and flat:
        slope *= 1 - patch
        tone += patch * copper * other_tone
    tone += _noise(px, 2.0, rng)[..., 0] * np.float32(0.012 * style.grain)
    low, span = _colour(style.substrate), _colour(style.copper) - _colour(style.substrate)
    shade = 1 + np.minimum(slope, 0) * np.float32(0.6)
    image: Plane = (tone * shade) * span
    image += low * shade
    image += np.maximum(slope, 0) * _HIGHLIGHT
    return image


def _tin(image: Plane, masks: Masks, style: BoardStyle, rng: np.random.Generator) -> None:
    """Lay in tinned pads, what is in their middle, and the holes that did not open."""
    px = image.shape[-1]
    pad = _plane(masks.pad, px)
    if pad is None:
        return
    around: Plane = cv2.dilate(pad, np.ones((3, 3), np.uint8)).astype(np.float32, copy=False)
    image *= 1 - np.float32(style.halo * 0.6) * _blur(around, 0.012 * px + 0.5)
    soft = _blur(pad, 0.8)
    shine = 1 + _slope(soft, style.light_angle) * 0.8 - (1 - soft) * 0.6
    shine += _noise(px, 1.0, rng)[..., 1] * 0.07
    hole = _plane(masks.hole, px)
    if hole is not None and not style.open_holes:
        round_hole = _blur(hole, 0.9)
        shine += _slope(round_hole, style.light_angle + 0.6) * 1.1
        shine -= 0.9 * round_hole * (1 - round_hole) - 0.12 * _blur(hole, 0.03 * px)
    _blend(image, shine * _colour(style.silver), pad)
    if hole is not None and style.open_holes:
        _blend(image, _colour(style.void) * 0.4, hole)
    void = _plane(masks.void, px)
    if void is not None:
        filled = style.silver if style.open_holes else style.void
        _blend(image, _colour(filled), void)


def _vias(image: Plane, masks: Masks, style: BoardStyle, rng: np.random.Generator) -> None:
    del rng
    ring, hole = _plane(masks.via, image.shape[-1]), _plane(masks.via_hole, image.shape[-1])
    if ring is not None:
        _blend(image, _colour(style.via_ring), ring * 0.8)
    if hole is not None:
        _blend(image, _colour(style.via_ring) * 0.3, hole * 0.8)


def _print(image: Plane, masks: Masks, style: BoardStyle, rng: np.random.Generator) -> None:
    silk = _plane(masks.silk, image.shape[-1])
    if silk is None:
        return
    alpha = _blur(silk, 0.5) * np.float32(0.9)
    alpha *= 1 + np.float32(0.08) * _noise(image.shape[-1], 1.0, rng)[..., 2]
    _blend(image, _colour(style.silk), alpha)


def _background(image: Plane, masks: Masks, style: BoardStyle, rng: np.random.Generator) -> None:
    """Lay in what lies beside the board, and the pale rim where the board was cut."""
    outside = _plane(masks.outside, image.shape[-1])
    if outside is None:
        return
    rim = _blur(outside, 0.015 * image.shape[-1] + 0.5) * np.float32(rng.uniform(0.1, 0.6))
    _blend(image, _colour(style.copper) * 1.2, rim)
    _blend(image, _colour(style.background), _blur(outside, 0.7))


def _specks(image: Plane, count: int, rng: np.random.Generator) -> None:
    """Sprinkle dust: single bright or dark points, smaller than any defect."""
    px = image.shape[-1]
    for x, y in rng.integers(px, size=(count, 2)):
        image[:, y : y + 1 + px // 128, x : x + 1 + px // 128] *= np.float32(rng.uniform(0.5, 1.9))


def _camera(image: Plane, style: BoardStyle, rng: np.random.Generator) -> Image:
    """Uneven light, exposure, white balance, blur, sensor noise and JPEG."""
    px = image.shape[-1]
    corners = 1 + rng.normal(0, style.gradient * 0.5, (2, 2)).astype(np.float32)
    _specks(image, rng.poisson(style.speck_rate), rng)
    image *= cv2.resize(corners, (px, px), interpolation=cv2.INTER_LINEAR)
    image *= _colour(style.white_balance) * np.float32(style.exposure * rng.normal(1, 0.05))
    picture = cv2.merge([image[0], image[1], image[2]])
    sigma = style.blur_px * px / 128 * float(rng.uniform(0.6, 1.4))
    if sigma > _LEAST_BLUR_PX:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    grain = _noise(px, 0.5, rng) * np.float32(style.noise * 0.8)
    photo = cv2.add(picture, grain, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
    return _jpeg(photo, style.jpeg_quality) if chance(rng, _JPEG_SHARE) else photo


def _jpeg(photo: Image, quality: int) -> Image:
    bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
    packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if unpacked is None:
        raise RuntimeError("OpenCV could not read back a JPEG that it had just written")
    return cv2.cvtColor(unpacked, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
