"""Whether live images still look like the held-back ones, by how sure the model is of them. Pure.

The statistic is the population stability index (PSI) between the confidences of the held-back
images and those of a window of live ones, over up to ten bins that hold equally many held-back
images, less what chance alone gives (its mean under no change: bins - 1, times 1/n + 1/m; Yurdakul
2018).

Once they differ, the promise no longer holds as it was made. Both rules then look at the live
window. A share is set by the live confidences themselves, which need no labels. A risk is set by
held-back images that are drawn again by rejection until they look like the live ones (as Park et
al. 2022 do under covariate shift): what is assumed is that answers of like confidence are right as
often as before. The draw leaves fewer images, so the threshold grows stricter, and where too few
are left everything is sent.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from random import Random

from contract.rules import BoxRules
from device_agent.cloud.calibrate import (
    Calibration,
    Evidence,
    Scored,
    Tally,
    threshold_for,
    tries_of,
)
from device_agent.stability import binned, shares_of, stability_index

WINDOW = 200
"""Live answers before a window is judged."""
MOST_LIVE = 1000
_MOST_BINS = 10
_IMAGES_A_BIN = 20


def drift_of(held_back: Sequence[float], live: Sequence[float]) -> float | None:
    """Return the index of ``live`` confidences; None where either are too few to tell."""
    edges = edges_of(held_back)
    if not edges or len(live) < WINDOW:
        return None
    return drift_between(held_back, live, edges)


def drift_between(one: Sequence[float], other: Sequence[float], edges: Sequence[float]) -> float:
    """Return the index between two windows over given bins."""
    index = stability_index(binned(other, edges), binned(one, edges))
    return max(0.0, index - len(edges) * (1 / len(one) + 1 / len(other)))


def edges_of(held_back: Sequence[float]) -> list[float]:
    """Return the inner edges of bins with at least 20 held-back images each; ties merge bins."""
    ordered = sorted(held_back)
    n_bins = min(_MOST_BINS, len(ordered) // _IMAGES_A_BIN)
    cuts = {ordered[len(ordered) * i // n_bins] for i in range(1, n_bins)}
    return sorted(cut for cut in cuts if cut > ordered[0])


def shares(confidences: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Return the share of each bin, never 0: half an image is added to each."""
    return shares_of(binned(confidences, edges))


def recalibrate(
    guide: Sequence[Scored], held_back: Sequence[Scored], live: Sequence[float], rules: BoxRules
) -> Calibration | None:
    """Return the threshold that keeps the promise for images like the ``live`` ones."""
    reference = [*guide, *held_back]
    evidence = Evidence(
        tries=tries_of(guide),
        guide=like_live(guide, reference, live),
        held=like_live(held_back, reference, live),
        ratio=len(held_back) / max(1, len(guide)),
        sureness=live,
    )
    return threshold_for(evidence, rules)


def like_live(
    held_back: Sequence[Scored], reference: Sequence[Scored], live: Sequence[float]
) -> Tally:
    """Return a tally of held-back images drawn to look like ``live`` above each threshold.

    An image is kept with a chance in proportion to how much more frequent its bin is now. Only the
    bins at or above the threshold count, for only there answers are kept. The chance is drawn once
    for each image, by a fixed seed, so that the same window gives the same threshold.
    """
    sureness = [confidence for confidence, _ in reference]
    edges = edges_of(sureness)
    pairs = zip(shares(live, edges), shares(sureness, edges), strict=True)
    weights = [now / before for now, before in pairs]
    chance = Random(0)  # noqa: S311 - a draw that anyone may repeat
    drawn = sorted(
        (confidence, chance.random() / weights[bisect_right(edges, confidence)], is_right)
        for confidence, is_right in held_back
    )

    def tally(threshold: float) -> tuple[int, int]:
        least = 1 / max(weights[bisect_right(edges, threshold) :])
        above = drawn[bisect_left(drawn, (threshold, 0.0, False)) :]
        right = [is_right for _, luck, is_right in above if luck < least]
        return len(right), right.count(False)

    return tally
