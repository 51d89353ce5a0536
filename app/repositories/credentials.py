"""Bearer tokens, known by their SHA-256 alone."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from app.database import Transaction
from app.tables import credentials


@dataclass(frozen=True, slots=True)
class Credential:
    sha256: str
    kind: str
    device_id: str | None
    uses_left: int | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Say whether the token is neither revoked nor expired."""
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired


_FIND = select(*[credentials.c[name] for name in Credential.__dataclass_fields__])


def find(tx: Transaction, sha256: str) -> Credential | None:
    row = tx.execute(_FIND.where(credentials.c.sha256 == sha256)).one_or_none()
    return None if row is None else Credential(*row)


def find_many(tx: Transaction, hashes: Iterable[str]) -> dict[str, Credential]:
    """Return those that exist, by hash."""
    rows = tx.execute(_FIND.where(credentials.c.sha256.in_(list(hashes))))
    return {row[0]: Credential(*row) for row in rows}


def add(tx: Transaction, credential: Credential, now: datetime) -> None:
    tx.execute(insert(credentials).values(**asdict(credential), created_at=now))


def take_use(tx: Transaction, sha256: str) -> bool:
    """Take one use of an enrolment token; False when none is left. One conditional UPDATE."""
    statement = (
        update(credentials)
        .where(credentials.c.sha256 == sha256, credentials.c.uses_left > 0)
        .values(uses_left=credentials.c.uses_left - 1)
    )
    return tx.execute(statement).rowcount == 1


def give_back_use(tx: Transaction, sha256: str) -> None:
    statement = (
        update(credentials)
        .where(credentials.c.sha256 == sha256)
        .values(uses_left=credentials.c.uses_left + 1)
    )
    tx.execute(statement)


def revoke_of_device(tx: Transaction, device_id: str, now: datetime) -> None:
    """Revoke every token of a box; it is refused from the next call on."""
    statement = (
        update(credentials)
        .where(credentials.c.device_id == device_id, credentials.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    tx.execute(statement)
