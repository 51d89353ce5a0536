"""The population stability index (PSI): how unlike two counts over the same bins are. Pure.

Under 0.1 alike, over 0.25 not: the rule of thumb of credit scoring (Siddiqi 2006). Half an image is
added to each bin on both sides, so that an empty one does not make the index infinite.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

ALIKE, UNLIKE = 0.1, 0.25
_UNSEEN = 0.5


def binned(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """Return how many ``values`` lie in each of the ``len(edges) + 1`` bins.

    ``edges`` are the inner ones, rising; a value on an edge falls into the upper bin.
    """
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    return counts


def shares_of(counts: Sequence[float]) -> list[float]:
    """Return the share of each bin, never 0."""
    total = math.fsum(counts) + _UNSEEN * len(counts)
    return [(count + _UNSEEN) / total for count in counts]


def stability_index(counts: Sequence[float], known: Sequence[float]) -> float:
    """Return the index between two counts over the same bins; 0 when alike, never less."""
    pairs = zip(shares_of(counts), shares_of(known), strict=True)
    return max(0.0, math.fsum((now - before) * math.log(now / before) for now, before in pairs))
