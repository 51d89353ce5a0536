"""What goes into each optimiser step: which images, how they are turned, and their weights.

Everything is drawn from (seed, epoch) alone, for the whole batch before it is cut into
micro-batches: a resumed run repeats an epoch exactly, and the micro-batch changes nothing.
Pixels are only turned and mirrored: a board has no up, and uint8 stays uint8.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.finetune.parameters import Floats

Indices = NDArray[np.int64]
Pixels = NDArray[np.uint8]

# 4 quarter turns, each mirrored or not.
_ORIENTATIONS = 8


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One optimiser step: ``weights`` sum to 1; ``dropout_mask`` is [n, features] or None."""

    indices: Indices
    orientations: Indices
    weights: Floats
    dropout_mask: Floats | None

    def parts(self, micro_batch: int) -> Iterator["Batch"]:
        """Yield the batch in pieces of at most ``micro_batch`` images; weights are kept."""
        for start in range(0, self.indices.size, micro_batch):
            at = slice(start, start + micro_batch)
            mask = self.dropout_mask
            yield Batch(
                indices=self.indices[at],
                orientations=self.orientations[at],
                weights=self.weights[at],
                dropout_mask=None if mask is None else np.ascontiguousarray(mask[at]),
            )


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How epochs are drawn. ``features`` is the width of the dropout mask, None without one."""

    labels: Indices
    batch: int
    seed: int
    dropout: float
    features: int | None

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of ``epoch``; the last one may be short."""
        rng = np.random.default_rng([self.seed, epoch])
        order = mixed_order(self.labels, rng)
        class_weights = balancing_weights(self.labels)
        for start in range(0, order.size, self.batch):
            indices = order[start : start + self.batch]
            weights = class_weights[self.labels[indices]]
            yield Batch(
                indices=indices,
                orientations=rng.integers(0, _ORIENTATIONS, indices.size),
                weights=(weights / weights.sum()).astype(np.float32),
                dropout_mask=self._dropout_mask(rng, indices.size),
            )

    def _dropout_mask(self, rng: np.random.Generator, size: int) -> Floats | None:
        if self.features is None:
            return None
        kept = rng.random((size, self.features), np.float32) >= self.dropout
        return kept.astype(np.float32) / np.float32(1 - self.dropout)


def mixed_order(labels: Indices, rng: np.random.Generator) -> Indices:
    """Return a random order in which every stretch holds the classes in their overall shares.

    Each class is shuffled and spread evenly over the epoch (stratified shuffling), so that no
    batch lacks the rare class by bad luck.
    """
    places = np.empty(labels.size, np.float64)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        places[own] = (np.arange(own.size) + rng.random(own.size)) / own.size
    return np.argsort(places, kind="stable")


def balancing_weights(labels: Indices) -> NDArray[np.float64]:
    """Return one weight per class such that all classes weigh the same over the epoch."""
    counts = np.bincount(labels)
    return labels.size / (np.count_nonzero(counts) * np.maximum(counts, 1))


def oriented(image: Pixels, orientation: int) -> Pixels:
    """Return square ``image`` [px, px, c] in one of its eight orientations (0 is as it is)."""
    mirrored = image[:, ::-1] if orientation >= _ORIENTATIONS // 2 else image
    return np.rot90(mirrored, orientation % (_ORIENTATIONS // 2))
