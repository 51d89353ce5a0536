"""Splits labelled images into parts, stratified, with near-duplicates never on two sides.

Pure and deterministic: numpy alone, no files, no clock. It runs on the box and in the lab alike.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class TooFewImagesError(ValueError):
    """A class cannot fill every part; ``n_more`` different images of it would be enough."""

    def __init__(self, label: str, n_groups: int, n_parts: int) -> None:
        self.label = label
        self.n_more = max(1, n_parts - n_groups)
        super().__init__(
            f"class {label} has {n_groups} different images (near-duplicates count once), but each "
            f"of the {n_parts} parts needs one: add at least {self.n_more} more images of it"
        )


def split(
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    seed: int,
    fractions: Sequence[float],
    *,
    class_names: Sequence[str] | None = None,
) -> tuple[Indices, ...]:
    """Return one sorted array of indices per part; together they are all images, once each.

    ``labels`` and ``groups`` are integers [N]; images of one group go to one part. ``fractions``
    are positive and sum to 1. The same arguments give the same parts. Raises `TooFewImagesError`
    when a class would be absent from a part.
    """
    label, group = np.asarray(labels, np.int64), np.asarray(groups, np.int64)
    counts = _counts(label, group)
    _require_groups(counts, len(fractions), class_names)
    targets = np.outer(np.asarray(fractions, np.float64), counts.sum(axis=0))
    part_of = _assign(counts, targets, seed)
    part = part_of[np.unique(group, return_inverse=True)[1]]
    parts = tuple(np.flatnonzero(part == k).astype(np.int64) for k in range(len(fractions)))
    _require_classes(label, parts, counts, class_names)
    return parts


def _counts(label: Indices, group: Indices) -> Indices:
    """How many images of each class [.., K] each group [G, ..] holds."""
    _, place = np.unique(group, return_inverse=True)
    counts = np.zeros((int(place.max(initial=-1)) + 1, int(label.max(initial=0)) + 1), np.int64)
    np.add.at(counts, (place, label), 1)
    return counts


def _assign(counts: Indices, targets: npt.NDArray[np.float64], seed: int) -> Indices:
    """Give each group, the largest first, to the part that lacks its classes most."""
    shuffled = np.random.default_rng((seed, 0x5B117)).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    had = np.zeros_like(targets)
    part_of = np.empty(len(counts), np.int64)
    for k in order:
        lack = (targets - had) / np.maximum(targets, 1e-9)
        part_of[k] = int(np.argmax((lack * counts[k]).sum(axis=1)))
        had[part_of[k]] += counts[k]
    return part_of


def _require_groups(counts: Indices, n_parts: int, names: Sequence[str] | None) -> None:
    for label, n_groups in enumerate((counts > 0).sum(axis=0)):
        if n_groups < n_parts:
            raise TooFewImagesError(_name(label, names), int(n_groups), n_parts)


def _require_classes(
    label: Indices, parts: Sequence[Indices], counts: Indices, names: Sequence[str] | None
) -> None:
    """Mixed groups can starve a part although there are groups enough."""
    for part in parts:
        for k in range(counts.shape[1]):
            if not np.any(label[part] == k):
                n_groups = int((counts[:, k] > 0).sum())
                raise TooFewImagesError(_name(k, names), n_groups, len(parts))


def _name(label: int, names: Sequence[str] | None) -> str:
    return names[label] if names is not None else str(label)
