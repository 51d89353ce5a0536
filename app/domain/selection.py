"""Which point a box should train: exact, deterministic, explained for every point.

Hard constraints first, then the non-dominated set of what fits, then the policy's objective in
its order, then the name; a box leaves its point only for one that is worth it. Nothing here is
random and nothing is looked up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain import explain
from app.domain.budget import budget_for
from app.domain.constraints import Box, failures, predicted_peak_bytes
from app.domain.pareto import Costs, costs, dominates, dominators
from contract.decision import Action, Decision, Observation
from contract.device import DeviceProfile
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.release import Release

GRID_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class PolicyInForce:
    """A policy version by name: what a decision is made under."""

    name: str
    version: int
    body: PolicyBody


@dataclass(frozen=True, kw_only=True)
class Current:
    """The point that a box is on already, and the release it came from."""

    release_number: int
    point_key: str


def select(
    *,
    profile: DeviceProfile,
    policy: PolicyInForce,
    release: Release,
    observations: Mapping[str, Observation],
    current: Current | None,
    now: datetime,
) -> Decision:
    """Return the decision for a box: the chosen point, or the nearest miss, with every verdict."""
    body = policy.body
    budget = budget_for(profile, fraction=body.budget_fraction, reserve_bytes=body.reserve_bytes)
    box = Box(profile=profile, policy=body, budget=budget, release=release)
    here = _point_here(current, release)
    candidates = [
        _weigh(point, box, observations.get(point.key), is_current=point.key == here)
        for point in release.points
    ]
    above = dominators({c.point.key: c.costs for c in candidates if c.fits and c.costs})
    front = [c for c in candidates if c.fits and above.get(c.point.key) is None]
    held = next((c for c in candidates if c.fits and c.is_current), None)
    chosen = _settle(front, held, body)
    story = explain.Story(
        candidates=candidates,
        chosen=chosen,
        best=_best(front, body),
        above=above,
        rank=lambda c: objective_key(c, body),
        policy=body,
        release=release,
    )
    return Decision(
        action="train" if chosen else action_without_point(body),
        release_number=release.number,
        policy_name=policy.name,
        policy_version=policy.version,
        budget=budget,
        chosen=chosen.point if chosen else None,
        verdicts=explain.verdicts(story),
        why=explain.why(story),
        next_better=explain.next_better(story),
        decided_at=now,
    )


def action_without_point(policy: PolicyBody) -> Action:
    """Return what a box does when nothing fits: the cloud only where images may go there."""
    cloud = policy.fallback != "never" and policy.images_may_leave
    return "cloud" if cloud else "idle"


def objective_key(candidate: explain.Candidate, policy: PolicyBody) -> tuple[float, ...]:
    """Return the candidate as the objective's order sees it; smaller is better."""
    point = candidate.point
    values: dict[str, float | None] = {
        "max_accuracy": _grid(point.accuracy_lower, policy.accuracy_step),
        "min_train_bytes": candidate.peak_bytes,
        "min_train_seconds": point.train_seconds,
        "min_latency": point.latency_ms,
        "min_artifact_bytes": point.artifact_bytes,
    }
    found = (values[word] for word in policy.objective)
    return tuple(math.inf if value is None else float(value) for value in found)


def _grid(accuracy: float | None, step: float) -> float | None:
    if accuracy is None:
        return None
    return -math.floor(round(accuracy / step, GRID_DIGITS))


def _weigh(
    point: FrontierPoint, box: Box, observation: Observation | None, *, is_current: bool
) -> explain.Candidate:
    peak_bytes = predicted_peak_bytes(point, box.profile, observation)
    found: Costs | None = costs(point, peak_bytes)
    return explain.Candidate(
        point=point,
        peak_bytes=peak_bytes,
        costs=found,
        failures=failures(point, box, observation, is_current=is_current),
        is_current=is_current,
    )


def _best(front: Sequence[explain.Candidate], policy: PolicyBody) -> explain.Candidate | None:
    return min(front, key=lambda c: (objective_key(c, policy), c.point.key), default=None)


def _point_here(current: Current | None, release: Release) -> str | None:
    """Return the key of the point that the box is on, if that is of this release."""
    if current is None or current.release_number != release.number:
        return None
    return current.point_key


def _settle(
    front: Sequence[explain.Candidate], held: explain.Candidate | None, policy: PolicyBody
) -> explain.Candidate | None:
    """Stay where we are unless there is a point to leave for.

    Each is held against the point we are on alone, so that one that ceases to fit (for want of
    disk, say) gives no reason to leave for another.
    """
    if held is None:
        return _best(front, policy)
    return _best([c for c in front if _is_worth_leaving_for(c, held, policy)], policy) or held


def _is_worth_leaving_for(
    candidate: explain.Candidate, held: explain.Candidate, policy: PolicyBody
) -> bool:
    """Say whether accuracy grows by more than the margin, and not at the objective's expense."""
    gain = (candidate.point.accuracy_lower or 0.0) - (held.point.accuracy_lower or 0.0)
    if gain <= policy.hysteresis or candidate.costs is None or held.costs is None:
        return False
    earlier = objective_key(candidate, policy) < objective_key(held, policy)
    return earlier or dominates(candidate.costs, held.costs)
