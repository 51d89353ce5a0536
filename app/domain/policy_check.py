"""Whether any point of a release can meet a policy at all, and the nearest value that would.

Only what no box can change is checked here: floor, latency and size. Memory is the box's own.
"""

from collections.abc import Iterator, Sequence

from app.domain.units import megabytes, milliseconds, percent
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.problem import FieldProblem


def impossibilities(
    policy: PolicyBody, points: Sequence[FrontierPoint]
) -> tuple[FieldProblem, ...]:
    """Return what makes the policy impossible for every point; empty when one could meet it."""
    if not points:
        return ()
    alone = (*_floor(policy, points), *_latency(policy, points), *_size(policy, points))
    return alone or tuple(_together(policy, points))


def _floor(policy: PolicyBody, points: Sequence[FrontierPoint]) -> Iterator[FieldProblem]:
    best = max((p.accuracy_lower for p in points if p.accuracy_lower is not None), default=0.0)
    if best < policy.accuracy_floor:
        yield FieldProblem(
            field="accuracy_floor",
            message=f"No point promises {percent(policy.accuracy_floor)}; the best lower bound is "
            f"{percent(best)}: use {_floor_to(best)} or less.",
        )


def _latency(policy: PolicyBody, points: Sequence[FrontierPoint]) -> Iterator[FieldProblem]:
    known = [p.latency_ms for p in points if p.latency_ms is not None]
    limit = policy.max_latency_ms
    if limit is not None and not any(value <= limit for value in known):
        nearest = min(known, default=None)
        hint = "no latency is measured" if nearest is None else f"use {nearest} or more"
        yield FieldProblem(
            field="max_latency_ms",
            message=f"No point answers within {milliseconds(limit)}; {hint}.",
        )


def _size(policy: PolicyBody, points: Sequence[FrontierPoint]) -> Iterator[FieldProblem]:
    known = [p.artifact_bytes for p in points if p.artifact_bytes is not None]
    limit = policy.max_artifact_bytes
    if limit is not None and not any(value <= limit for value in known):
        nearest = min(known, default=None)
        hint = "no size is measured" if nearest is None else f"use {nearest} or more"
        yield FieldProblem(
            field="max_artifact_bytes",
            message=f"No point is as small as {megabytes(limit)}; {hint}.",
        )


def _together(policy: PolicyBody, points: Sequence[FrontierPoint]) -> Iterator[FieldProblem]:
    within = [p for p in points if _within_ceilings(p, policy)]
    best = max((p.accuracy_lower for p in within if p.accuracy_lower is not None), default=0.0)
    if not within or best < policy.accuracy_floor:
        yield FieldProblem(
            field="accuracy_floor",
            message=f"No point meets floor and ceilings together; within the ceilings the best "
            f"lower bound is {percent(best)}: use {_floor_to(best)} or less, or raise a ceiling.",
        )


def _within_ceilings(point: FrontierPoint, policy: PolicyBody) -> bool:
    latency, size = point.latency_ms, point.artifact_bytes
    fast = policy.max_latency_ms is None or (
        latency is not None and latency <= policy.max_latency_ms
    )
    small = policy.max_artifact_bytes is None or (
        size is not None and size <= policy.max_artifact_bytes
    )
    return fast and small


def _floor_to(value: float) -> float:
    return int(value * 1000) / 1000
