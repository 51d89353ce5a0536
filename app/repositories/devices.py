"""Boxes: registered, listed, decided for. State changes are conditional UPDATEs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.database import Transaction
from app.tables import credentials, devices, fleet

NOTHING_DECIDED = -1


@dataclass(frozen=True, kw_only=True)
class Device:
    id: str
    serial: str
    enrolled_by: str | None
    labels: str
    profile: str
    created_at: datetime
    last_seen_at: datetime | None
    inputs_revision: int
    decided_inputs: int
    decided_fleet: int
    generation: int
    etag: str
    state: str | None


_COLUMNS = [devices.c[name] for name in Device.__dataclass_fields__]
_ALL = select(*_COLUMNS)


def _device(row: Any) -> Device:  # noqa: ANN401 - rows are typed by their statement only
    return Device(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def find(tx: Transaction, device_id: str) -> Device | None:
    row = tx.execute(_ALL.where(devices.c.id == device_id)).one_or_none()
    return None if row is None else _device(row)


def find_many(tx: Transaction, ids: Iterable[str]) -> dict[str, Device]:
    rows = tx.execute(_ALL.where(devices.c.id.in_(list(ids))))
    return {row[0]: _device(row) for row in rows}


def find_by_serial(tx: Transaction, serial: str) -> Device | None:
    row = tx.execute(_ALL.where(devices.c.serial == serial)).one_or_none()
    return None if row is None else _device(row)


def page(tx: Transaction, *, after: str | None, limit: int) -> list[Device]:
    """Return up to ``limit`` boxes by id, those after ``after``."""
    statement = _ALL.order_by(devices.c.id).limit(limit)
    if after is not None:
        statement = statement.where(devices.c.id > after)
    return [_device(row) for row in tx.execute(statement)]


def add(tx: Transaction, values: Mapping[str, object]) -> bool:
    """Insert a box; False when its serial is there already."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(devices)
        .values(
            **values,
            profile_sequence=-1,
            inputs_revision=0,
            decided_inputs=NOTHING_DECIDED,
            decided_fleet=NOTHING_DECIDED,
            generation=0,
            etag="",
        )
        .on_conflict_do_nothing(index_elements=["serial"])
        .returning(devices.c.id)
    )
    return tx.execute(statement).one_or_none() is not None


def renew(tx: Transaction, device_id: str, values: Mapping[str, object]) -> None:
    """Take a box's registration anew: its sequence numbers may start again."""
    statement = (
        update(devices)
        .where(devices.c.id == device_id)
        .values(**values, profile_sequence=-1, inputs_revision=devices.c.inputs_revision + 1)
    )
    tx.execute(statement)


def fleet_revision(tx: Transaction) -> int:
    revision: int = tx.execute(select(fleet.c.revision)).scalar_one()
    return revision


def touch_fleet(tx: Transaction) -> None:
    """Make every box's decision due: a release or a policy changed."""
    tx.execute(update(fleet).values(revision=fleet.c.revision + 1))


def lock(tx: Transaction, ids: Iterable[str]) -> None:
    """Hold the boxes against other processes until the commit (SQLite holds all already)."""
    statement = (
        select(devices.c.id)
        .where(devices.c.id.in_(sorted(ids)))
        .order_by(devices.c.id)
        .with_for_update(key_share=True)
    )
    tx.execute(statement)


_SET_PROFILE = (
    update(devices)
    .where(devices.c.id == bindparam("of"), devices.c.profile_sequence < bindparam("at"))
    .values(
        profile=bindparam("to"),
        profile_sequence=bindparam("at"),
        inputs_revision=devices.c.inputs_revision + 1,
    )
)
_TOUCH = (
    update(devices)
    .where(devices.c.id == bindparam("of"))
    .values(inputs_revision=devices.c.inputs_revision + 1)
)
_SEEN = (
    update(devices)
    .where(
        devices.c.id == bindparam("of"),
        func.coalesce(devices.c.last_seen_at < bindparam("at"), True),
    )
    .values(last_seen_at=bindparam("at"))
)


def set_profiles(tx: Transaction, profiles: Iterable[tuple[str, int, str]]) -> None:
    """Store (device, sequence, profile) each, unless a later one is stored."""
    tx.execute(_SET_PROFILE, [{"of": d, "at": s, "to": p} for d, s, p in sorted(profiles)])


def touch(tx: Transaction, ids: Iterable[str]) -> None:
    """Make the boxes' decisions due: what they saw of their points changed."""
    tx.execute(_TOUCH, [{"of": device_id} for device_id in sorted(set(ids))])


def seen(tx: Transaction, times: Mapping[str, datetime]) -> None:
    """Note the times of last contact, never backwards."""
    tx.execute(_SEEN, [{"of": device_id, "at": at} for device_id, at in sorted(times.items())])


def decide(
    tx: Transaction, was: Device, *, fleet_revision: int, generation: int, etag: str, state: str
) -> bool:
    """Store what a box should be; False when another process has decided meanwhile."""
    statement = (
        update(devices)
        .where(
            devices.c.id == was.id,
            devices.c.generation == was.generation,
            devices.c.decided_inputs == was.decided_inputs,
            devices.c.decided_fleet == was.decided_fleet,
        )
        .values(
            decided_inputs=was.inputs_revision,
            decided_fleet=fleet_revision,
            generation=generation,
            etag=etag,
            state=state,
        )
    )
    return tx.execute(statement).rowcount == 1


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll needs: whose token it is, and whether what was decided still stands."""

    kind: str
    is_live: bool
    device_id: str | None
    etag: str
    stands: bool


_POLL = (
    select(
        credentials.c.sha256,
        credentials.c.kind,
        credentials.c.revoked_at.is_(None),
        credentials.c.expires_at,
        devices.c.id,
        devices.c.etag,
        (devices.c.decided_inputs == devices.c.inputs_revision)
        & (devices.c.decided_fleet == fleet.c.revision),
    )
    .select_from(
        credentials.outerjoin(devices, devices.c.id == credentials.c.device_id).join(
            fleet, fleet.c.id == 1
        )
    )
    .where(credentials.c.sha256.in_(bindparam("hashes", expanding=True)))
)


def polled(tx: Transaction, hashes: Iterable[str], now: datetime) -> dict[str, Polled]:
    """Return what stands for the boxes behind the token hashes, in one statement."""
    found = {}
    for sha256, kind, unrevoked, expires_at, device_id, etag, stands in tx.execute(
        _POLL, {"hashes": list(hashes)}
    ):
        live = bool(unrevoked) and (expires_at is None or expires_at > now)
        found[sha256] = Polled(kind, live, device_id, etag or "", bool(stands))
    return found


def disown(tx: Transaction, device_id: str) -> None:
    """Free the box's serial: any enrolment token may take it up again."""
    tx.execute(update(devices).where(devices.c.id == device_id).values(enrolled_by=None))
