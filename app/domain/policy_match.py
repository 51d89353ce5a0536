"""Which policy a box is under: every label named must match; priority, then specificity."""

from collections.abc import Iterable, Mapping

from app.domain.selection import PolicyInForce
from contract.policy import PolicyBody


def matches(policy: PolicyBody, labels: Mapping[str, str]) -> bool:
    """Say whether a box with ``labels`` is selected; the empty selector selects all."""
    return all(labels.get(name) == value for name, value in policy.selector.items())


def policy_for(
    labels: Mapping[str, str], policies: Iterable[PolicyInForce]
) -> PolicyInForce | None:
    """Return the matching policy of highest priority, then the most specific, then by name."""
    matching = [policy for policy in policies if matches(policy.body, labels)]
    return min(
        matching,
        key=lambda p: (-p.body.priority, -len(p.body.selector), p.name),
        default=None,
    )
