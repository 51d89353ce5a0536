"""Policies and their immutable versions."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select, update

from app.database import CoreTransaction, Transaction
from app.domain.selection import PolicyInForce
from app.tables import PolicyRow, PolicyVersionRow, policies, policy_versions
from contract.policy import PolicyBody

Policy: TypeAlias = tuple[PolicyRow, PolicyVersionRow]
_ALL = select(PolicyRow, PolicyVersionRow).where(
    PolicyVersionRow.name == PolicyRow.name, PolicyVersionRow.version == PolicyRow.version
)
_IN_FORCE = sa.select(policies.c.name, policies.c.version, policy_versions.c.body).where(
    policy_versions.c.name == policies.c.name,
    policy_versions.c.version == policies.c.version,
    policies.c.retired_at.is_(None),
)


def in_force(tx: Transaction | CoreTransaction) -> list[PolicyInForce]:
    """Return the newest version of every policy that is not retired."""
    return [
        PolicyInForce(name=name, version=version, body=PolicyBody.model_validate_json(body))
        for name, version, body in tx.execute(_IN_FORCE)
    ]


def page(tx: Transaction, *, after: str | None, limit: int) -> Sequence[Policy]:
    """Return up to ``limit`` policies by name, each with its newest version."""
    statement = _ALL.order_by(col(PolicyRow.name)).limit(limit)
    if after is not None:
        statement = statement.where(PolicyRow.name > after)
    return tx.exec(statement).all()


def find(tx: Transaction, name: str) -> Policy | None:
    return tx.exec(_ALL.where(PolicyRow.name == name)).one_or_none()


def versions(tx: Transaction, name: str) -> Sequence[PolicyVersionRow]:
    """Return every version, the newest first."""
    number = col(PolicyVersionRow.version)
    statement = select(PolicyVersionRow).where(PolicyVersionRow.name == name)
    return tx.exec(statement.order_by(number.desc())).all()


def add(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> bool:
    """Add a policy at version 1; False when the name is taken."""
    dialect = postgresql if tx.get_bind().dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(policies)
        .values(name=name, version=1, created_at=now, retired_at=None)
        .on_conflict_do_nothing()
        .returning(policies.c.name)
    )
    if tx.exec(statement).one_or_none() is None:
        return False
    _add_version(tx, name, 1, body, now)
    return True


def next_version(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> int | None:
    """Add a version and return its number; None when the policy is retired or not there."""
    number = col(PolicyRow.version)
    statement = _unretired(name).values(version=number + 1).returning(number)
    version: int | None = tx.exec(statement).scalar_one_or_none()
    if version is not None:
        _add_version(tx, name, version, body, now)
    return version


def _add_version(tx: Transaction, name: str, version: int, body: PolicyBody, now: datetime) -> None:
    tx.add(
        PolicyVersionRow(name=name, version=version, body=body.model_dump_json(), created_at=now)
    )


def retire(tx: Transaction, name: str, now: datetime) -> bool:
    """Retire a policy; False when it is retired already or not there."""
    return tx.exec(_unretired(name).values(retired_at=now)).rowcount == 1


def _unretired(name: str) -> sa.Update:
    return update(PolicyRow).where(col(PolicyRow.name) == name, col(PolicyRow.retired_at).is_(None))
