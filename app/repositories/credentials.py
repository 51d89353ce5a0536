"""Bearer tokens, known by their SHA-256 alone."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlmodel import col, update

from app.database import CoreTransaction, Transaction
from app.tables import CredentialRow, credentials


class Credential(NamedTuple):
    """What a check-in needs of a token."""

    kind: str
    device_id: str | None
    expires_at: datetime | None
    revoked_at: datetime | None


_FIND = sa.select(credentials.c.sha256, *[credentials.c[name] for name in Credential._fields])


def is_live(credential: Credential | CredentialRow, now: datetime) -> bool:
    """Say whether the token is neither revoked nor expired."""
    expired = credential.expires_at is not None and credential.expires_at <= now
    return credential.revoked_at is None and not expired


def find(tx: Transaction, sha256: str) -> CredentialRow | None:
    return tx.get(CredentialRow, sha256)


def find_many(tx: CoreTransaction, hashes: Iterable[str]) -> dict[str, Credential]:
    """Return those that exist, by hash."""
    rows = tx.execute(_FIND.where(credentials.c.sha256.in_(list(hashes))))
    return {sha256: Credential(*values) for sha256, *values in rows}


def add(tx: Transaction, credential: CredentialRow) -> None:
    tx.add(credential)


def take_use(tx: Transaction, sha256: str) -> bool:
    """Take one use of an enrolment token; False when none is left. One conditional UPDATE."""
    uses_left = col(CredentialRow.uses_left)
    statement = (
        update(CredentialRow)
        .where(col(CredentialRow.sha256) == sha256, uses_left > 0)
        .values(uses_left=uses_left - 1)
    )
    return tx.exec(statement).rowcount == 1


def give_back_use(tx: Transaction, sha256: str) -> None:
    statement = (
        update(CredentialRow)
        .where(col(CredentialRow.sha256) == sha256)
        .values(uses_left=col(CredentialRow.uses_left) + 1)
    )
    tx.exec(statement)


def revoke_of_device(tx: Transaction, device_id: str, now: datetime) -> None:
    """Revoke every token of a box; it is refused from the next call on."""
    statement = (
        update(CredentialRow)
        .where(col(CredentialRow.device_id) == device_id, col(CredentialRow.revoked_at).is_(None))
        .values(revoked_at=now)
    )
    tx.exec(statement)
