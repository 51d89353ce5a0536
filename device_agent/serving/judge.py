"""Judges answers by labels: balanced accuracy with its interval, AUC, confusion, latency. Pure.

The interval: a Wilson interval for the share right of each class, the two combined by MOVER
(Zou and Donner, Statistics in Medicine 27, 2008). It is for images drawn independently; tiles of
one board are not quite that.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.cloud.summary import percentile

Z_95 = 1.959963984540054
OK, DEFECT = "ok", "defect"


@dataclass(frozen=True)
class Answered:
    """One image: what it is, what the model said, the chance of ``defect``, how long it took."""

    truth: str
    label: str
    defect_chance: float
    latency_ms: float


def wilson(right: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson 1927); (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, square = right / n, z * z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(min(centre - half, share), 0.0), min(max(centre + half, share), 1.0)


def balanced(right: Sequence[int], n: Sequence[int]) -> tuple[float, float, float]:
    """Return balanced accuracy and its 95 % interval, of the counts of two classes."""
    shares = [r / max(count, 1) for r, count in zip(right, n, strict=True)]
    bounds = [wilson(r, count) for r, count in zip(right, n, strict=True)]
    value = sum(shares) / 2
    below = math.hypot(*(s - low for s, (low, _) in zip(shares, bounds, strict=True))) / 2
    above = math.hypot(*(high - s for s, (_, high) in zip(shares, bounds, strict=True))) / 2
    return value, max(value - below, 0.0), min(value + above, 1.0)


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Return how often a defect scores above a good one, ties half; None without both."""
    if not positive or not negative:
        return None
    marked = sorted([(score, 1) for score in positive] + [(score, 0) for score in negative])
    ranks, at = 0.0, 0
    while at < len(marked):
        end = at
        while end < len(marked) and marked[end][0] == marked[at][0]:
            end += 1
        mean_rank = (at + 1 + end) / 2
        ranks += mean_rank * sum(mark for _, mark in marked[at:end])
        at = end
    n = len(positive)
    return (ranks - n * (n + 1) / 2) / (n * len(negative))


def judged(answers: Sequence[Answered]) -> dict[str, Any]:
    """Return the figures of a labelled folder, ready for JSON."""
    confusion = Counter((a.truth, a.label) for a in answers)
    n = {name: sum(a.truth == name for a in answers) for name in (OK, DEFECT)}
    right = [confusion[name, name] for name in (OK, DEFECT)]
    value, low, high = balanced(right, [n[OK], n[DEFECT]])
    scores = {name: [a.defect_chance for a in answers if a.truth == name] for name in n}
    times = sorted(a.latency_ms for a in answers)
    return {
        "n": n,
        "balanced_accuracy": value,
        "interval_95": [low, high],
        "interval_method": "Wilson per class, combined by MOVER",
        "auc": auc(scores[DEFECT], scores[OK]),
        "confusion": {
            truth: {label: confusion[truth, label] for label in (OK, DEFECT)} for truth in n
        },
        "latency_ms_p50": percentile(times, 0.50),
        "latency_ms_p99": percentile(times, 0.99),
    }
