"""Tells copies of a picture, as the fine-tune program does before it splits the images.

The definition is that of ``models.data.duplicates``, which the box cannot import; a test holds the
two together. An exact digest of the pixels, and a 64-bit perceptual hash: the signs of the 8 x 8
lowest cosine frequencies of the grey image (pHash: Zauner 2010), in all eight orientations. Images
with hardly any structure all look alike without being copies: their hashes are not compared.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Waves = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

THRESHOLD_BITS = 4
"""Hash bits within which two images count as copies; the split is more cautious and takes 6."""

_LARGEST_SHARE = 0.25
_SMALL_GROUP = 8
_GRID = 32
_FREQUENCIES = 8
_PLAIN_LEVELS = 2.5
_CHUNK = 128


@dataclass(frozen=True)
class Fingerprint:
    """``hashes`` are those of the eight orientations, the upright one first."""

    digest: bytes
    hashes: tuple[int, ...]
    plain: bool


def fingerprint(image: Pixels) -> Fingerprint:
    """Return the fingerprint of uint8 [h, w, C], at least 8 x 8 pixels."""
    grey = image.astype(np.float64).mean(axis=2)
    reduced = _means(grey.shape[0]) @ grey @ _means(grey.shape[1]).T
    waves = _cosines() @ reduced @ _cosines().T
    detail = waves.copy()
    detail[0, 0] = detail[0, 1] = detail[1, 0] = 0.0
    plain = bool(np.sqrt((detail**2).sum()) / _GRID < _PLAIN_LEVELS)
    shape = ",".join(str(n) for n in image.shape)
    digest = hashlib.sha256(shape.encode() + np.ascontiguousarray(image).tobytes()).digest()
    return Fingerprint(digest, tuple(_bits(turned) for turned in _orientations(waves)), plain)


def group_copies(prints: Sequence[Fingerprint]) -> tuple[Groups, int]:
    """Return a group for each image (the index of its first member) and the bits it took.

    A copy of a copy belongs. Where look-alikes would make one group of over a quarter of all
    images (and over 8), fewer bits may differ; at last (-1) only equal pixels count.
    """
    exact = _by_digest(prints)
    most = max(_SMALL_GROUP, _LARGEST_SHARE * len(prints))
    for bits in range(THRESHOLD_BITS, -1, -2):
        groups = _linked(exact, prints, bits)
        if len(groups) == 0 or np.bincount(groups).max() <= most:
            return groups, bits
    return exact, -1


def first_copies(
    one: Sequence[Fingerprint], other: Sequence[Fingerprint], bits: int
) -> dict[int, int]:
    """Return for each image of ``one`` that has a copy in ``other`` the first such copy."""
    by_digest: dict[bytes, int] = {}
    for row, known in enumerate(other):
        by_digest.setdefault(known.digest, row)
    found = {
        row: by_digest[seen.digest] for row, seen in enumerate(one) if seen.digest in by_digest
    }
    rows = _structured(one)
    columns = _structured(other)
    for row, matches in _matches(one, rows, other, columns, bits):
        found.setdefault(row, int(matches[0]))
    return found


def _linked(groups: Groups, prints: Sequence[Fingerprint], bits: int) -> Groups:
    """Merge groups along matches. Groups keep the index of their first member as their number."""
    merged = groups.copy()
    rows = _structured(prints)
    for row, matches in _matches(prints, rows, prints, rows, bits):
        joined = np.unique(merged[np.append(matches, row)])
        if len(joined) > 1:
            merged[np.isin(merged, joined)] = joined[0]
    return merged


def _matches(
    one: Sequence[Fingerprint],
    rows: Groups,
    other: Sequence[Fingerprint],
    columns: Groups,
    bits: int,
) -> Iterator[tuple[int, Groups]]:
    """Yield each of ``rows`` with those of ``columns`` within ``bits`` in some orientation."""
    if bits < 0 or not len(rows) or not len(columns):
        return
    turned = np.array([other[int(k)].hashes for k in columns], np.uint64)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        upright = np.array([[one[int(k)].hashes[0]] for k in chunk], np.uint64)
        apart = np.full((len(chunk), len(columns)), 64, np.uint8)
        for orientation in range(turned.shape[1]):
            np.minimum(apart, np.bitwise_count(upright ^ turned[:, orientation]), out=apart)
        for row, distances in zip(chunk, apart, strict=True):
            near = columns[distances <= bits]
            if len(near):
                yield int(row), near


def _structured(prints: Sequence[Fingerprint]) -> Groups:
    return np.array([k for k, seen in enumerate(prints) if not seen.plain], np.int64)


def _by_digest(prints: Sequence[Fingerprint]) -> Groups:
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(p.digest, k) for k, p in enumerate(prints)], np.int64)


@lru_cache(maxsize=1)
def _cosines() -> Waves:
    """Return the first rows of the orthonormal DCT-II matrix."""
    k, n = np.arange(_FREQUENCIES)[:, None], np.arange(_GRID)[None]
    rows: Waves = np.sqrt(2 / _GRID) * np.cos(np.pi * (2 * n + 1) * k / 2 / _GRID)
    rows[0] /= np.sqrt(2)
    return rows


@lru_cache(maxsize=16)
def _means(length: int) -> Waves:
    """Return the [grid, length] matrix of how much of each pixel falls into each cell."""
    edges = np.linspace(0, length, _GRID + 1)
    low = np.maximum(edges[:-1, None], np.arange(length)[None])
    high = np.minimum(edges[1:, None], np.arange(length)[None] + 1)
    share: Waves = np.maximum(high - low, 0) * (_GRID / length)
    return share


def _orientations(waves: Waves) -> list[Waves]:
    """Return the frequencies of the image flipped and turned: signs alternate, axes swap."""
    signs = np.where(np.arange(_FREQUENCIES) % 2 == 0, 1.0, -1.0)
    ones = np.ones(_FREQUENCIES)
    flips = [waves * np.outer(down, across) for down in (ones, signs) for across in (ones, signs)]
    return [*flips, *(flipped.T for flipped in flips)]


def _bits(waves: Waves) -> int:
    signs = (waves > 0).ravel()
    signs[0] = False
    return int.from_bytes(np.packbits(signs).tobytes(), "big")
