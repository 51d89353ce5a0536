"""Policies: created, given new versions, retired. An impossible one is refused."""

from datetime import datetime

from app.database import Transaction
from app.domain.policy_check import impossibilities
from app.errors import AlreadyExistsError, ImpossiblePolicyError, NotFoundError, RetiredError
from app.repositories import devices, policies, releases
from app.repositories.policies import Policy
from contract.policy import PolicyBody


def create(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> Policy:
    """Create a policy at version 1; raises ImpossiblePolicyError or AlreadyExistsError."""
    _check(tx, body)
    if not policies.add(tx, name, body, now):
        raise AlreadyExistsError("policy", name)
    devices.touch_fleet(tx)
    return get(tx, name)


def new_version(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> Policy:
    """Give a policy a new version; the former ones stay as they were."""
    _check(tx, body)
    if policies.next_version(tx, name, body, now) is None:
        get(tx, name)
        raise RetiredError("policy", name)
    devices.touch_fleet(tx)
    return get(tx, name)


def retire(tx: Transaction, name: str, now: datetime) -> Policy:
    """Retire a policy; its boxes go to the next one that matches."""
    if not policies.retire(tx, name, now):
        get(tx, name)
        raise RetiredError("policy", name)
    devices.touch_fleet(tx)
    return get(tx, name)


def get(tx: Transaction, name: str) -> Policy:
    found = policies.find(tx, name)
    if found is None:
        raise NotFoundError("policy", name)
    return found


def _check(tx: Transaction, body: PolicyBody) -> None:
    release = releases.current(tx)
    errors = impossibilities(body, release.points if release else ())
    if errors:
        raise ImpossiblePolicyError(errors)


def exists(tx: Transaction, name: str) -> bool:
    return policies.find(tx, name) is not None
