"""Which labels look wrong, by a classifier that never saw the image that it judges.

Five folds, copies of a picture in one fold; ridge regression on standardised features in closed
form; its scores turned into probabilities by a logistic curve (Platt 1999). A label is suspicious
by the rule of confident learning (Northcutt, Jiang and Chuang 2021): the other class is likelier
than the given one, and at least as likely as it is on average for the images that bear its name.
Two bounds make that average usable here. The other class must be likely in itself
(``LEAST_DOUBT``): where the features tell the classes poorly apart the rule alone names a quarter
of all images. And no more than ``ENOUGH_DOUBT`` is asked for: where they tell them apart well, the
average is so high that the rule alone misses a third of the wrong labels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FOLDS = 5
LEAST_PER_CLASS = 10
"""Pictures of each class, copies counted once, below which no label is judged."""
LEAST_DOUBT, ENOUGH_DOUBT = 0.65, 0.7
_ROUNDS = 3
_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
_TINY = 1e-6
_NEWTON_STEPS = 50
_CURVE_PENALTY = 1e-3
_STEEPEST = 30.0


@dataclass(frozen=True)
class Judged:
    """``doubt`` [N] is the chance, out of sample, that the other class is right.

    ``accuracy`` is the classifier's own balanced accuracy against the labels as they are.
    """

    doubt: Floats
    suspicious: Flags
    accuracy: float


def judge_labels(features: Features, labels: Ints, groups: Ints) -> Judged | None:
    """Judge the labels (0 or 1) [N] of features [N, D]; None where there are too few pictures.

    Images of one group are copies: they stand in one fold, or one would answer for the other.
    """
    per_class = [len(np.unique(groups[labels == k])) for k in (0, 1)]
    if min(per_class) < LEAST_PER_CLASS:
        return None
    weights = np.where(labels == 1, 1 / np.mean(labels == 1), 1 / np.mean(labels == 0)) / 2
    rounds = [_scores(features, labels, weights, _folds(groups, k)) for k in range(_ROUNDS)]
    scores: Floats = np.mean(rounds, axis=0)
    chance = _calibrated(scores, labels, weights)
    right = np.where(labels == 1, scores > 0, scores <= 0)
    accuracy = float(np.mean([right[labels == k].mean() for k in (0, 1)]))
    return _judged(np.where(labels == 1, 1 - chance, chance), labels, accuracy)


def _judged(doubt: Floats, labels: Ints, accuracy: float) -> Judged:
    own = 1 - doubt
    usual = np.array([own[labels == k].mean() for k in (0, 1)])
    least = np.clip(usual, LEAST_DOUBT, ENOUGH_DOUBT)
    return Judged(doubt, doubt >= least[1 - labels], accuracy)


def _folds(groups: Ints, seed: int) -> Ints:
    """Return the fold of each image; groups are dealt out in a shuffled order."""
    names, member = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng((seed, 0x1ABE1)).permutation(len(names)) % FOLDS
    folds: Ints = dealt[member]
    return folds


def _scores(features: Features, labels: Ints, weights: Floats, folds: Ints) -> Floats:
    """Return the out-of-fold score of each image, by the penalty that predicts labels best."""
    target = np.where(labels == 1, 1.0, -1.0)
    scores = np.zeros((len(_PENALTIES), len(labels)))
    for fold in range(FOLDS):
        known, asked = folds != fold, folds == fold
        if asked.any():
            scores[:, asked] = _ridge(
                features[known], target[known], weights[known], features[asked]
            )
    losses = (weights * (scores - target) ** 2).sum(axis=1)
    best: Floats = scores[int(np.argmin(losses))]
    return best


def _ridge(known: Features, target: Floats, weights: Floats, asked: Features) -> Floats:
    """Return predictions [penalties, asked] of a weighted ridge regression on ``known``.

    ``known`` and ``asked`` are changed. Single precision does: every penalty is 1 or more.
    """
    share = (weights / weights.sum()).astype(np.float32)
    root = np.sqrt(weights).astype(np.float32)
    centre = share @ known
    known -= centre
    spread = np.sqrt(share @ known**2)
    spread[spread < _TINY] = 1.0
    level = float(share @ target)
    left = np.multiply(known, root[:, None] / spread, out=known)
    right = ((target - level) * root).astype(np.float32)
    new = (asked - centre) / spread
    if left.shape[0] < left.shape[1]:
        values, basis = np.linalg.eigh(left @ left.T)
        onto, seen = basis.T @ right, new @ (left.T @ basis)
    else:
        values, basis = np.linalg.eigh(left.T @ left)
        onto, seen = basis.T @ (left.T @ right), new @ basis
    shrunk = [onto / (np.maximum(values, 0) + penalty) for penalty in _PENALTIES]
    return np.stack([seen @ row for row in shrunk]).astype(np.float64) + level


def _calibrated(scores: Floats, labels: Ints, weights: Floats) -> Floats:
    """Return the chance of class 1 by a logistic curve over the scores, fitted by Newton."""
    inputs = np.stack([scores, np.ones_like(scores)], axis=1)
    curve = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        chance = _logistic(inputs @ curve)
        slope = inputs.T @ (weights * (chance - labels)) + _CURVE_PENALTY * curve
        bend = inputs.T @ (inputs * (weights * chance * (1 - chance))[:, None])
        curve = curve - np.linalg.solve(bend + _CURVE_PENALTY * np.eye(2), slope)
    return _logistic(inputs @ curve)


def _logistic(values: Floats) -> Floats:
    flat = np.clip(values, -_STEEPEST, _STEEPEST)
    answer: Floats = 1 / (1 + np.exp(-flat))
    return answer
