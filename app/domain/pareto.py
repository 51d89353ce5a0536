"""The non-dominated set: points that no other point beats in everything that counts.

Accuracy (lower bound) is to be large; predicted peak memory, training time, latency and artifact
size small. A point with a missing number is in no front.
"""

import math
from collections.abc import Mapping, Sequence

from contract.measurement import FrontierPoint

Costs = tuple[float, ...]


def costs(point: FrontierPoint, peak_bytes: int | None) -> Costs | None:
    """Return the point as costs (each to be small), or None when a number is missing."""
    lower = point.accuracy_lower
    values = (
        None if lower is None else -lower,
        peak_bytes,
        point.train_seconds,
        point.latency_ms,
        point.artifact_bytes,
    )
    known = tuple(float(v) for v in values if v is not None and math.isfinite(v))
    return known if len(known) == len(values) else None


def lab_peak_bytes(point: FrontierPoint) -> int | None:
    """Return the peak as the lab saw it: its own floor plus the workload."""
    if point.floor_bytes is None or point.peak_workload_bytes is None:
        return None
    return point.floor_bytes + point.peak_workload_bytes


def dominates(one: Costs, other: Costs) -> bool:
    """Say whether ``one`` is nowhere worse than ``other`` and somewhere better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def dominators(points: Mapping[str, Costs]) -> dict[str, str | None]:
    """Return for every key the first key (by name) that dominates it and is itself undominated.

    Sorting by costs puts every dominator before what it dominates, so comparing with the front
    found so far is enough.
    """
    front: list[str] = []
    found: dict[str, str | None] = {}
    for key in sorted(points, key=lambda k: (points[k], k)):
        above = [f for f in front if dominates(points[f], points[key])]
        found[key] = min(above, default=None)
        if not above:
            front.append(key)
    return found


def lab_front(points: Sequence[FrontierPoint]) -> frozenset[str]:
    """Return the keys of the points that are non-dominated by the lab's own figures."""
    known = {p.key: c for p in points if (c := costs(p, lab_peak_bytes(p))) is not None}
    return frozenset(key for key, above in dominators(known).items() if above is None)
