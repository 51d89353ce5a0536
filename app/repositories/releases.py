"""Releases and their artifacts. A release never changes, so a parsed one may be kept."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from app.database import Transaction
from app.tables import artifacts, releases
from contract.release import Artifact, Release

PARSED_KEPT = 8
_parsed: dict[str, Release] = {}


@dataclass(frozen=True, kw_only=True)
class ReleaseSummary:
    number: int
    title: str
    task: str
    sha256: str
    created_at: datetime
    retired_at: datetime | None


_SUMMARY = select(*[releases.c[name] for name in ReleaseSummary.__dataclass_fields__])


def summary(tx: Transaction, number: int) -> ReleaseSummary | None:
    row = tx.execute(_SUMMARY.where(releases.c.number == number)).one_or_none()
    return None if row is None else ReleaseSummary(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def page(tx: Transaction, *, before: int | None, limit: int) -> list[ReleaseSummary]:
    """Return up to ``limit`` releases, the newest first, those before ``before``."""
    statement = _SUMMARY.order_by(releases.c.number.desc()).limit(limit)
    if before is not None:
        statement = statement.where(releases.c.number < before)
    return [ReleaseSummary(**row._mapping) for row in tx.execute(statement)]  # noqa: SLF001 - as above


def current(tx: Transaction) -> Release | None:
    """Return the newest release that is not retired."""
    statement = (
        select(releases.c.number, releases.c.sha256)
        .where(releases.c.retired_at.is_(None))
        .order_by(releases.c.number.desc())
        .limit(1)
    )
    row = tx.execute(statement).one_or_none()
    return None if row is None else _release(tx, row[0], row[1])


def find(tx: Transaction, number: int) -> Release | None:
    """Return a release, retired or not."""
    found = summary(tx, number)
    return None if found is None else _release(tx, number, found.sha256)


def _release(tx: Transaction, number: int, sha256: str) -> Release:
    release = _parsed.get(sha256)
    if release is None:
        document = tx.execute(select(releases.c.document).where(releases.c.number == number))
        release = Release.model_validate_json(document.scalar_one())
        while len(_parsed) >= PARSED_KEPT:
            _parsed.pop(next(iter(_parsed)), None)
        _parsed[sha256] = release
    return release


def add(tx: Transaction, release: Release, sha256: str, now: datetime) -> None:
    tx.execute(
        insert(releases).values(
            number=release.number,
            title=release.title,
            task=release.task,
            sha256=sha256,
            document=release.model_dump_json(),
            created_at=now,
            retired_at=None,
        )
    )


def add_artifact(tx: Transaction, artifact: Artifact, location: str, now: datetime) -> None:
    """Note a file; one that another release brought already stays as it is."""
    known = select(artifacts.c.sha256).where(artifacts.c.sha256 == artifact.sha256)
    if tx.execute(known).one_or_none() is None:
        tx.execute(
            insert(artifacts).values(
                sha256=artifact.sha256,
                length_bytes=artifact.length_bytes,
                location=location,
                created_at=now,
            )
        )


def retire(tx: Transaction, number: int, now: datetime) -> bool:
    """Retire a release; False when it is retired already or not there."""
    statement = (
        update(releases)
        .where(releases.c.number == number, releases.c.retired_at.is_(None))
        .values(retired_at=now)
    )
    return tx.execute(statement).rowcount == 1
