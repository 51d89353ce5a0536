"""Policies and their immutable versions."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.database import Transaction
from app.domain.selection import PolicyInForce
from app.tables import policies, policy_versions
from contract.policy import PolicyBody


@dataclass(frozen=True, kw_only=True)
class Policy:
    name: str
    version: int
    created_at: datetime
    retired_at: datetime | None
    body: str


def _with_body() -> Select[tuple[str, int, datetime, datetime | None, str]]:
    return select(
        policies.c.name,
        policies.c.version,
        policy_versions.c.created_at,
        policies.c.retired_at,
        policy_versions.c.body,
    ).join(
        policy_versions,
        (policy_versions.c.name == policies.c.name)
        & (policy_versions.c.version == policies.c.version),
    )


_ALL = _with_body()


def in_force(tx: Transaction) -> list[PolicyInForce]:
    """Return the newest version of every policy that is not retired."""
    rows = tx.execute(_ALL.where(policies.c.retired_at.is_(None)))
    return [
        PolicyInForce(name=r.name, version=r.version, body=PolicyBody.model_validate_json(r.body))
        for r in rows
    ]


def page(tx: Transaction, *, after: str | None, limit: int) -> list[Policy]:
    statement = _ALL.order_by(policies.c.name).limit(limit)
    if after is not None:
        statement = statement.where(policies.c.name > after)
    return [Policy(**row._mapping) for row in tx.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public name


def find(tx: Transaction, name: str) -> Policy | None:
    row = tx.execute(_ALL.where(policies.c.name == name)).one_or_none()
    return None if row is None else Policy(**row._mapping)  # noqa: SLF001 - as above


def versions(tx: Transaction, name: str) -> list[tuple[int, datetime, str]]:
    """Return every version's number, time and body, the newest first."""
    statement = (
        select(policy_versions.c.version, policy_versions.c.created_at, policy_versions.c.body)
        .where(policy_versions.c.name == name)
        .order_by(policy_versions.c.version.desc())
    )
    return [(row[0], row[1], row[2]) for row in tx.execute(statement)]


def add(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> bool:
    """Add a policy at version 1; False when the name is taken."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(policies)
        .values(name=name, version=1, created_at=now, retired_at=None)
        .on_conflict_do_nothing()
        .returning(policies.c.name)
    )
    if tx.execute(statement).one_or_none() is None:
        return False
    _add_version(tx, name, 1, body, now)
    return True


def next_version(tx: Transaction, name: str, body: PolicyBody, now: datetime) -> int | None:
    """Add a version and return its number; None when the policy is retired or not there."""
    statement = (
        update(policies)
        .where(policies.c.name == name, policies.c.retired_at.is_(None))
        .values(version=policies.c.version + 1)
        .returning(policies.c.version)
    )
    version: int | None = tx.execute(statement).scalar_one_or_none()
    if version is not None:
        _add_version(tx, name, version, body, now)
    return version


def _add_version(tx: Transaction, name: str, version: int, body: PolicyBody, now: datetime) -> None:
    tx.execute(
        insert(policy_versions).values(
            name=name, version=version, body=body.model_dump_json(), created_at=now
        )
    )


def retire(tx: Transaction, name: str, now: datetime) -> bool:
    """Retire a policy; False when it is retired already or not there."""
    statement = (
        update(policies)
        .where(policies.c.name == name, policies.c.retired_at.is_(None))
        .values(retired_at=now)
    )
    return tx.execute(statement).rowcount == 1
