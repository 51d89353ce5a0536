"""The lab's view of a set of points: which are non-dominated, for cards and reports.

The server selects by its own pure code under a box's constraints; this only describes a catalogue.
"""

from collections.abc import Sequence

from contract.measurement import FrontierPoint

_WORST = float("inf")


def costs(point: FrontierPoint) -> tuple[float, ...]:
    """Return what is minimised: error, peak bytes, train seconds, latency, artifact bytes.

    A missing figure counts as infinitely bad.
    """
    accuracy = point.accuracy_lower
    figures = (
        None if accuracy is None else 1.0 - accuracy,
        point.peak_workload_bytes,
        point.train_seconds,
        point.latency_ms,
        point.artifact_bytes,
    )
    return tuple(_WORST if figure is None else float(figure) for figure in figures)


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Say whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def non_dominated(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """Return the points that no other point dominates, in their order."""
    rows = [(point, costs(point)) for point in points]
    return tuple(p for p, c in rows if not any(dominates(other, c) for _, other in rows))
