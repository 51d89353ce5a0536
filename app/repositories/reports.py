"""Reports, each stored once per (box, key), and what they say about points."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select, update

from app.database import CoreTransaction, Transaction
from app.domain.observations import Seen
from app.tables import ObservationRow, ReportRow, observations, reports

_INSERT = {
    module.__name__.rpartition(".")[2]: module.insert(reports)
    .on_conflict_do_nothing(index_elements=["device_id", "key"])
    .returning(reports.c.device_id, reports.c.key)
    for module in (sqlite, postgresql)
}


def add(tx: CoreTransaction, rows: Sequence[Mapping[str, object]]) -> set[tuple[str, str]]:
    """Insert what is new and return its (box, key) pairs; the rest was here before."""
    statement = _INSERT[tx.dialect.name]
    return {(row[0], row[1]) for row in tx.execute(statement, rows)} if rows else set()


def page(tx: Transaction, device_id: str, *, before: int | None, limit: int) -> Sequence[ReportRow]:
    """Return a box's reports, the last received first."""
    number = col(ReportRow.id)
    statement = select(ReportRow).where(ReportRow.device_id == device_id)
    if before is not None:
        statement = statement.where(number < before)
    return tx.exec(statement.order_by(number.desc()).limit(limit)).all()


@dataclass(frozen=True, order=True)
class PointOnBox:
    """The key of an observation."""

    device_id: str
    release_number: int
    point_key: str


_SEEN = [observations.c[name] for name in Seen.__dataclass_fields__]


def seen_of(tx: CoreTransaction, device_id: str, release_number: int) -> dict[str, Seen]:
    """Return what a box saw of the points of a release, by point key."""
    statement = sa.select(observations.c.point_key, *_SEEN).where(
        observations.c.device_id == device_id, observations.c.release_number == release_number
    )
    names = tuple(Seen.__dataclass_fields__)
    return {
        key: Seen(**dict(zip(names, values, strict=True))) for key, *values in tx.execute(statement)
    }


def put_seen(tx: CoreTransaction, records: Mapping[PointOnBox, Seen], now: datetime) -> None:
    """Write the records anew; the caller holds the boxes' locks."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(observations)
    columns = (*Seen.__dataclass_fields__, "updated_at")
    statement = insert.on_conflict_do_update(
        index_elements=["device_id", "release_number", "point_key"],
        set_={name: insert.excluded[name] for name in columns},
    )
    rows = [
        {**asdict(key), **asdict(seen), "updated_at": now} for key, seen in sorted(_items(records))
    ]
    tx.execute(statement, rows)


def _items(records: Mapping[PointOnBox, Seen]) -> Iterable[tuple[PointOnBox, Seen]]:
    return records.items()


def forget_sequences(tx: Transaction, device_id: str) -> None:
    """Let a box that registered anew count its reports from the start."""
    statement = update(ObservationRow).where(col(ObservationRow.device_id) == device_id)
    tx.exec(statement.values(accuracy_sequence=-1))
