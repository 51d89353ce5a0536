"""Finds images that are copies of one another, so that a split can keep them together.

A fingerprint is an exact digest of the pixels and a 64-bit perceptual hash: the signs of the 8 x 8
lowest cosine frequencies of the grey image (pHash: Zauner 2010). Flips and quarter turns only
change signs and transpose frequencies, so all eight orientations are compared at almost no cost;
a shifted crop is *not* recognised.

Tiles with hardly any structure (bare mask, a plain pour) all look alike without being copies:
their perceptual hash is ignored and only equal pixels bring them together. Where groups still grow
so large that a split would suffer, the threshold is lowered step by step; see `group_duplicates`.
Runs on the box: numpy and hashlib alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Groups = npt.NDArray[np.int64]

DEFAULT_THRESHOLD_BITS = 6
LARGEST_GROUP_SHARE = 0.25

_GRID = 32
_FREQUENCIES = 8
_ORIENTATIONS = 8
_PLAIN_LEVELS = 2.5
_SMALL_GROUP = 8
_CHUNK = 256


@dataclass(frozen=True)
class Fingerprint:
    """``hashes`` are the perceptual hashes of the eight orientations, the upright one first.

    ``plain`` marks an image without structure, whose hashes mean nothing.
    """

    digest: bytes
    hashes: tuple[int, ...]
    plain: bool


@dataclass(frozen=True)
class Grouping:
    """Group ids [N], numbered by first member, and the threshold that they were made with."""

    groups: Groups
    threshold_bits: int

    @property
    def n_copies(self) -> int:
        """How many images stand in a group that an earlier image opened."""
        return len(self.groups) - len(np.unique(self.groups))


def fingerprint(image: Pixels) -> Fingerprint:
    """Return the fingerprint of a uint8 [h, w] or [h, w, C] image of at least 8 x 8 pixels."""
    grey = image.astype(np.float64)
    if grey.ndim > 2:  # noqa: PLR2004
        grey = grey.mean(axis=2)
    waves = _cosines() @ _reduced(grey) @ _cosines().T
    detail = waves.copy()
    detail[0, 0] = detail[0, 1] = detail[1, 0] = 0.0
    plain = bool(np.sqrt((detail**2).sum()) / _GRID < _PLAIN_LEVELS)
    shape = ",".join(str(n) for n in image.shape)
    digest = hashlib.sha256(shape.encode() + np.ascontiguousarray(image).tobytes()).digest()
    return Fingerprint(digest, tuple(_bits(turned) for turned in _orientations(waves)), plain)


def group_duplicates(
    prints: Sequence[Fingerprint],
    *,
    threshold_bits: int = DEFAULT_THRESHOLD_BITS,
    largest_share: float = LARGEST_GROUP_SHARE,
) -> Grouping:
    """Group images whose hashes differ in at most ``threshold_bits`` bits in some orientation.

    Groups are chains: a copy of a copy belongs. If the largest holds more than ``largest_share`` of
    all images (and more than 8), the threshold is lowered by two bits, at last to equal pixels
    only (-1), so that a board of look-alike tiles can still be split.
    """
    exact = _by_digest(prints)
    most = max(_SMALL_GROUP, largest_share * len(prints))
    for bits in range(threshold_bits, -1, -2):
        groups = _linked(exact, _pairs(prints, bits))
        if len(groups) == 0 or np.bincount(groups).max() <= most:
            return Grouping(groups, bits)
    return Grouping(exact, -1)


def straddling(prints: Sequence[Fingerprint], sides: Sequence[int], bits: int) -> list[int]:
    """Return the images with a copy on another side of a split; exact copies always count."""
    side = np.asarray(sides, np.int64)
    links = _pairs(prints, bits)
    near = links[side[links[:, 0]] != side[links[:, 1]]]
    exact = _by_digest(prints)
    seen_on = [set(side[exact == group]) for group in range(int(exact.max(initial=-1)) + 1)]
    equal = [k for k, group in enumerate(exact) if len(seen_on[group]) > 1]
    return sorted({*near.ravel().tolist(), *equal})


@lru_cache(maxsize=1)
def _cosines() -> npt.NDArray[np.float64]:
    """Return the first rows of the orthonormal DCT-II matrix."""
    k, n = np.arange(_FREQUENCIES)[:, None], np.arange(_GRID)[None]
    rows: npt.NDArray[np.float64] = np.sqrt(2 / _GRID) * np.cos(np.pi * (2 * n + 1) * k / 2 / _GRID)
    rows[0] /= np.sqrt(2)
    return rows


def _reduced(grey: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Shrink to the hash's grid by exact area means, whatever the size."""
    return _means(grey.shape[0]) @ grey @ _means(grey.shape[1]).T


@lru_cache(maxsize=16)
def _means(length: int) -> npt.NDArray[np.float64]:
    """Return the [grid, length] matrix of how much of each pixel falls into each cell."""
    edges = np.linspace(0, length, _GRID + 1)
    low = np.maximum(edges[:-1, None], np.arange(length)[None])
    high = np.minimum(edges[1:, None], np.arange(length)[None] + 1)
    share: npt.NDArray[np.float64] = np.maximum(high - low, 0) * (_GRID / length)
    return share


def _orientations(waves: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Return the frequencies of the image flipped and turned: signs alternate, axes swap."""
    signs = np.where(np.arange(_FREQUENCIES) % 2 == 0, 1.0, -1.0)
    ones = np.ones(_FREQUENCIES)
    flips = [waves * np.outer(down, across) for down in (ones, signs) for across in (ones, signs)]
    return [*flips, *(flipped.T for flipped in flips)]


def _bits(waves: npt.NDArray[np.float64]) -> int:
    signs = (waves > 0).ravel()
    signs[0] = False
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def _by_digest(prints: Sequence[Fingerprint]) -> Groups:
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(p.digest, len(first)) for p in prints], np.int64)


def _pairs(prints: Sequence[Fingerprint], bits: int) -> Groups:
    """All pairs of structured images within ``bits``, as rows of two indices."""
    rows = np.array([k for k, p in enumerate(prints) if not p.plain], np.int64)
    if len(rows) < 2:  # noqa: PLR2004
        return np.empty((0, 2), np.int64)
    hashes = np.array([prints[int(k)].hashes for k in rows], np.uint64)
    found = []
    for start in range(0, len(rows), _CHUNK):
        upright = hashes[start : start + _CHUNK, :1]
        apart = np.full((len(upright), len(rows)), 64, np.uint8)
        for turn in range(_ORIENTATIONS):
            np.minimum(apart, np.bitwise_count(upright ^ hashes[:, turn]), out=apart)
        left, right = np.nonzero(apart <= bits)
        keep = left + start < right
        found.append(np.stack([rows[left[keep] + start], rows[right[keep]]], axis=1))
    return np.concatenate(found)


def _linked(groups: Groups, pairs: Groups) -> Groups:
    """Merge groups along ``pairs`` until nothing changes, then number them by first member."""
    merged = groups.copy()
    for a, b in pairs:
        if merged[a] != merged[b]:
            low, high = sorted((int(merged[a]), int(merged[b])))
            merged[merged == high] = low
    _, first, inverse = np.unique(merged, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: Groups = rank[inverse]
    return numbered
