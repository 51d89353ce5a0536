"""Releases and their artifacts. A release never changes, so a parsed one may be kept."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlmodel import col, select, update

from app.database import CoreTransaction, Transaction
from app.tables import ArtifactRow, ReleaseRow, releases
from contract.release import Artifact, Release

PARSED_KEPT = 8
_parsed: dict[str, Release] = {}
_WITHOUT_DOCUMENT = defer(ReleaseRow.document)  # type: ignore[arg-type] # a column, to the mapper


def summary(tx: Transaction, number: int) -> ReleaseRow | None:
    """Return a release's row; its document is read when asked for."""
    return tx.get(ReleaseRow, number, options=[_WITHOUT_DOCUMENT])


def page(tx: Transaction, *, before: int | None, limit: int) -> Sequence[ReleaseRow]:
    """Return up to ``limit`` releases, the newest first, those before ``before``."""
    statement = select(ReleaseRow).options(_WITHOUT_DOCUMENT).limit(limit)
    if before is not None:
        statement = statement.where(ReleaseRow.number < before)
    return tx.exec(statement.order_by(col(ReleaseRow.number).desc())).all()


def current(tx: Transaction | CoreTransaction) -> Release | None:
    """Return the newest release that is not retired."""
    statement = (
        sa.select(releases.c.number, releases.c.sha256)
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


def _release(tx: Transaction | CoreTransaction, number: int, sha256: str) -> Release:
    release = _parsed.get(sha256)
    if release is None:
        document = tx.execute(sa.select(releases.c.document).where(releases.c.number == number))
        release = Release.model_validate_json(document.scalar_one())
        while len(_parsed) >= PARSED_KEPT:
            _parsed.pop(next(iter(_parsed)), None)
        _parsed[sha256] = release
    return release


def add(tx: Transaction, release: Release, sha256: str, now: datetime) -> None:
    tx.add(
        ReleaseRow(
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
    if tx.get(ArtifactRow, artifact.sha256) is None:
        tx.add(
            ArtifactRow(
                sha256=artifact.sha256,
                length_bytes=artifact.length_bytes,
                location=location,
                created_at=now,
            )
        )


def retire(tx: Transaction, number: int, now: datetime) -> bool:
    """Retire a release; False when it is retired already or not there."""
    statement = (
        update(ReleaseRow)
        .where(col(ReleaseRow.number) == number, col(ReleaseRow.retired_at).is_(None))
        .values(retired_at=now)
    )
    return tx.exec(statement).rowcount == 1
