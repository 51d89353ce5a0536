"""What a box should be: the state kept for it, when it changes, and when to ask again."""

import hashlib

from app.domain.selection import PolicyInForce, action_without_point
from contract.base import ByteCount, Fraction, Label, Message, Name
from contract.decision import Action, Decision
from contract.desired import Assignment, DesiredState
from contract.device import BudgetTerm
from contract.policy import Fallback
from contract.release import Release
from contract.rules import BoxRules, rules_of

JITTER_SPAN = 0.5
BUDGET_CHANGE_THAT_COUNTS = 0.05


class State(Message):
    """The part of a box's desired state that is stored; the rest comes from its release."""

    action: Action
    release_number: int
    decision_id: Label | None
    point_key: Label | None
    budget_bytes: ByteCount
    bound_by: BudgetTerm | None = None
    policy_name: Name | None
    policy_version: int
    accuracy_floor: Fraction
    fallback: Fallback
    images_may_leave: bool
    rules: BoxRules = BoxRules()
    why: str
    next_better: str


def state_of(decision: Decision, decision_id: str, policy: PolicyInForce) -> State:
    """Return the state that a decision asks for."""
    return State(
        action=decision.action,
        release_number=decision.release_number,
        decision_id=decision_id,
        point_key=decision.chosen.key if decision.chosen else None,
        budget_bytes=decision.budget.total_bytes,
        bound_by=decision.budget.bound_by,
        policy_name=policy.name,
        policy_version=policy.version,
        accuracy_floor=policy.body.accuracy_floor,
        fallback=policy.body.fallback,
        images_may_leave=policy.body.images_may_leave,
        rules=rules_of(policy.body),
        why=decision.why,
        next_better=decision.next_better,
    )


def state_without_decision(policy: PolicyInForce | None, release: Release | None) -> State:
    """Return the state of a box that no decision can be made for."""
    missing = "No release is loaded." if release is None else "No policy matches this box's labels."
    body = policy.body if policy else None
    return State(
        action=action_without_point(body) if body and release else "idle",
        release_number=release.number if release else 0,
        decision_id=None,
        point_key=None,
        budget_bytes=0,
        policy_name=policy.name if policy else None,
        policy_version=policy.version if policy else 0,
        accuracy_floor=body.accuracy_floor if body else 0.5,
        fallback=body.fallback if body else "never",
        images_may_leave=body.images_may_leave if body else False,
        rules=rules_of(body) if body else BoxRules(),
        why=f"{missing} The box keeps what it has.",
        next_better="",
    )


def is_same(old: State | None, new: State) -> bool:
    """Say whether a box need not hear of ``new``: nothing that it acts on has changed.

    Words do not count, nor does how much memory is free just now, while the same point fits: it
    breathes, and the box looks for itself. A cap that moves counts from a twentieth on.
    """
    if old is None:
        return False
    ignored = {"why", "next_better", "decision_id", "budget_bytes", "bound_by"}
    if old.model_dump(exclude=ignored) != new.model_dump(exclude=ignored):
        return False
    if old.bound_by == new.bound_by == "available_ram":
        return True
    moved = abs(new.budget_bytes - old.budget_bytes)
    return moved <= BUDGET_CHANGE_THAT_COUNTS * old.budget_bytes


def etag_of(device_id: str, generation: int, state: State) -> str:
    """Return the entity tag: the generation, and a digest that no restored backup repeats."""
    text = f"{device_id}:{generation}:{state.model_dump_json()}"
    return f'"{generation}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def desired_state(state: State, generation: int, release: Release | None) -> DesiredState:
    """Return the answer to a poll, with the point and variant that the state names."""
    return DesiredState(
        generation=generation,
        action=state.action,
        release_number=state.release_number,
        decision_id=state.decision_id,
        assignment=_assignment(state, release),
        accuracy_floor=state.accuracy_floor,
        fallback=state.fallback,
        images_may_leave=state.images_may_leave,
        rules=state.rules,
        why=state.why,
        next_better=state.next_better,
    )


def _assignment(state: State, release: Release | None) -> Assignment | None:
    if state.action != "train" or release is None:
        return None
    point = next(p for p in release.points if p.key == state.point_key)
    variant = release.variant(point.variant)
    return Assignment(point=point, variant=variant, budget_bytes=state.budget_bytes)


def next_poll_s(mean_s: int, jitter: float) -> int:
    """Return the seconds to the next poll; ``jitter`` in [0, 1) spreads it by a quarter each way.

    At least one second, and whole seconds.
    """
    return max(1, round(mean_s * (1 - JITTER_SPAN / 2 + JITTER_SPAN * jitter)))


def names_etag(if_none_match: str | None, etag: str) -> bool:
    """Say whether an If-None-Match header names ``etag`` (weak comparison, RFC 9110)."""
    if if_none_match is None:
        return False
    if if_none_match == etag:
        return True
    named = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return etag in named or "*" in named
