"""How sure an answer must be before a box keeps it: thresholds that keep a stated promise. Pure.

An answer is kept where its confidence (its largest probability) is at least the threshold, and sent
otherwise. Both thresholds rest on images that the box holds back. They hold with a stated
confidence over the draw of those images, if live images are drawn alike; for when they are not,
see ``confidence_drift``.

``risk_threshold`` promises that at most a share ``max_risk`` of the kept answers is wrong. That is
selective classification with guaranteed risk (Geifman and El-Yaniv 2017), but where they give each
threshold tried a share of the level by a union bound, thresholds are tried here one after another,
strict to loose, each at the full level of its walk (fixed sequence testing, as in Learn then Test,
Angelopoulos et al. 2021). Measured: ``bench/fallback.py``.

``share_threshold`` promises that at most a share ``max_offload`` of the images is sent: a
split-conformal quantile of the confidences, with the correction that makes it hold for these very
images and not only on average (Vovk 2012).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.report import CalibrationBody
from contract.rules import BoxRules

Scored = tuple[float, bool]
"""The confidence of an answer, and whether it was right."""

KEEP_ALL = 0.0
_MOST_CANDIDATES = 200
_EARLY_LEVEL = 0.7
_EARLY_MARGIN = 1.2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold and what it rests on; ``threshold`` None keeps nothing. See CalibrationBody."""

    max_risk: float | None
    max_offload: float | None
    confidence: float
    threshold: float | None
    n: int
    kept_share: float

    def trusts(self, confidence: float) -> bool:
        """Return whether an answer of this confidence stands without the cloud."""
        return self.threshold is not None and confidence >= self.threshold

    def body(self, model_sha256: str) -> CalibrationBody:
        """Return it as a report."""
        by_risk = self.max_risk is not None
        promised = self.max_risk if self.max_risk is not None else self.max_offload
        return CalibrationBody(
            model_sha256=model_sha256,
            promise="max_risk" if by_risk else "max_offload",
            promised=promised or 0.0,
            confidence=self.confidence,
            threshold=self.threshold,
            n=self.n,
            kept_share=self.kept_share,
        )


Tally = Callable[[float], tuple[int, int]]
"""How many held-back answers a threshold keeps, and how many of those are wrong."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What thresholds are set by.

    ``held`` counts images that had no part in any choice. ``guide`` counts others, and ``tries``
    are their confidences, strict to loose: they only say where to look. ``ratio`` is how many
    held-back images there are to one of the guide's, and ``sureness`` the confidences to expect.
    """

    tries: Sequence[float]
    guide: Tally
    held: Tally
    ratio: float
    sureness: Sequence[float]


def calibrate(
    guide: Sequence[Scored], held_back: Sequence[Scored], rules: BoxRules
) -> Calibration | None:
    """Return the threshold that keeps the rules' promise; None where they promise nothing.

    ``guide`` are the images that chose the checkpoint. Without images a risk cannot be promised
    and everything is sent, and a share can only be promised by sending nothing.
    """
    evidence = Evidence(
        tries=tries_of(guide),
        guide=tally_of(guide),
        held=tally_of(held_back),
        ratio=len(held_back) / max(1, len(guide)),
        sureness=[confidence for confidence, _ in held_back],
    )
    return threshold_for(evidence, rules)


def threshold_for(evidence: Evidence, rules: BoxRules) -> Calibration | None:
    """Return what the evidence says of the rules' promise; None where they promise nothing."""
    sureness, confidence = evidence.sureness, rules.risk_confidence
    if rules.max_risk is not None:
        threshold = risk_threshold(evidence, max_risk=rules.max_risk, confidence=confidence)
    elif rules.max_offload is not None:
        share = rules.max_offload
        threshold = share_threshold(sureness, max_offload=share, confidence=confidence)
    else:
        return None
    return Calibration(
        max_risk=rules.max_risk,
        max_offload=rules.max_offload if rules.max_risk is None else None,
        confidence=confidence,
        threshold=threshold,
        n=len(sureness),
        kept_share=kept_share(sureness, threshold),
    )


def risk_threshold(evidence: Evidence, *, max_risk: float, confidence: float) -> float | None:
    """Return the loosest threshold that is shown to be safe; None where none is.

    With probability ``confidence`` over the held-back images the risk above it is at most
    ``max_risk``, whatever the shape of the risk.
    """
    found = (
        walk(order, evidence.held, max_risk=max_risk, level=level)
        for order, level in walks(evidence, max_risk=max_risk, level=1 - confidence)
    )
    return min((threshold for threshold in found if threshold is not None), default=None)


def walk(order: Sequence[float], held: Tally, *, max_risk: float, level: float) -> float | None:
    """Return the last threshold of ``order`` before one that cannot be shown to be safe.

    ``order`` was fixed without looking at the held-back images, so the first unsafe threshold in it
    is a fixed one. Its test (an exact binomial tail, as Clopper and Pearson 1934 invert it) passes
    by luck with probability ``level`` at most.
    """
    found = None
    for threshold in order:
        kept, wrong = held(threshold)
        if not kept or binomial_tail(wrong, kept, max_risk) > level:
            break
        found = threshold
    return found


def walks(
    evidence: Evidence, *, max_risk: float, level: float
) -> list[tuple[Sequence[float], float]]:
    """Return which thresholds to try in which order, at which levels; these sum to ``level``.

    One walk begins where the guide looks safest, which is best for a good model; the other where
    just enough images are kept for any proof, which finds the little that a poor one may keep.
    Where that is no stricter there is one walk alone.
    """
    if not evidence.tries:
        return []
    safest = _safest(evidence, max_risk)
    needed = _EARLY_MARGIN * math.log(_EARLY_LEVEL * level) / math.log1p(-max_risk)
    enough = (evidence.guide(t)[0] * evidence.ratio >= needed for t in evidence.tries)
    early = next((at for at, is_enough in enumerate(enough) if is_enough), safest)
    if early >= safest:
        return [(evidence.tries[early:], level)]
    return [
        (evidence.tries[early:], _EARLY_LEVEL * level),
        (evidence.tries[safest:], (1 - _EARLY_LEVEL) * level),
    ]


def _safest(evidence: Evidence, max_risk: float) -> int:
    """Return where the guide's risk is least likely over ``max_risk``; of equals the loosest."""
    tallies = [evidence.guide(threshold) for threshold in evidence.tries]
    doubts = [(binomial_tail(wrong, kept, max_risk), -kept) for kept, wrong in tallies]
    return doubts.index(min(doubts))


def tries_of(guide: Sequence[Scored]) -> list[float]:
    """Return the distinct confidences, strict to loose; at most 200, even in rank, and the last."""
    distinct = sorted({confidence for confidence, _ in guide})
    return distinct[:: -(-len(distinct) // _MOST_CANDIDATES) or 1][::-1]


def tally_of(scored: Sequence[Scored]) -> Tally:
    """Return the tally of plain images."""
    rows = _tally(scored)
    strictness = [-row.threshold for row in rows]

    def tally(threshold: float) -> tuple[int, int]:
        at = bisect_right(strictness, -threshold)
        return (rows[at - 1].kept, rows[at - 1].wrong) if at else (0, 0)

    return tally


def share_threshold(
    confidences: Sequence[float], *, max_offload: float, confidence: float
) -> float:
    """Return a threshold below which at most ``max_offload`` of like images fall.

    It holds with probability ``confidence`` over the n ``confidences``, not only on average: the
    share below the k-th smallest of n is at most a Beta(k, n + 1 - k), and k is the largest for
    which that passes ``max_offload`` with probability 1 - ``confidence`` at most. Ties only make
    it smaller. 0, which sends nothing, where n is too small.
    """
    n, k = len(confidences), 0
    while k < n and binomial_tail(k, n, max_offload) <= 1 - confidence:
        k += 1
    return sorted(confidences)[k - 1] if k else KEEP_ALL


def kept_share(confidences: Sequence[float], threshold: float | None) -> float:
    """Return the share of ``confidences`` that a threshold keeps; 0 of none."""
    if threshold is None or not confidences:
        return 0.0
    return sum(confidence >= threshold for confidence in confidences) / len(confidences)


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X binomial of n trials with chance p in (0, 1), to 1e-9 of itself."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    yes, no, whole = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    terms = (
        math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * yes + (n - i) * no)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(terms))


@dataclass(frozen=True)
class _Row:
    """What a threshold keeps of a set of images, and how many of those are wrong."""

    threshold: float
    kept: int
    wrong: int


def _tally(scored: Sequence[Scored]) -> list[_Row]:
    """Return a row for each distinct confidence, strict to loose."""
    rows: list[_Row] = []
    wrong = 0
    for kept, (confidence, right) in enumerate(sorted(scored, reverse=True), start=1):
        wrong += not right
        if rows and rows[-1].threshold == confidence:
            rows.pop()
        rows.append(_Row(confidence, kept, wrong))
    return rows
