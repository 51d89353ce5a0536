"""Boxes: registered, listed, decided for. State changes are conditional UPDATEs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, select, update

from app.database import CoreTransaction, Transaction
from app.tables import DeviceRow, FleetRow, credentials, devices, fleet

NOTHING_DECIDED = -1


def find(tx: Transaction, device_id: str) -> DeviceRow | None:
    return tx.get(DeviceRow, device_id)


def find_by_serial(tx: Transaction, serial: str) -> DeviceRow | None:
    return tx.exec(select(DeviceRow).where(DeviceRow.serial == serial)).one_or_none()


def page(tx: Transaction, *, after: str | None, limit: int) -> Sequence[DeviceRow]:
    """Return up to ``limit`` boxes by id, those after ``after``."""
    statement = select(DeviceRow).order_by(col(DeviceRow.id)).limit(limit)
    if after is not None:
        statement = statement.where(DeviceRow.id > after)
    return tx.exec(statement).all()


def add(tx: Transaction, values: Mapping[str, object]) -> bool:
    """Insert a box; False when its serial is there already."""
    dialect = postgresql if tx.get_bind().dialect.name == "postgresql" else sqlite
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
    return tx.exec(statement).one_or_none() is not None


def renew(tx: Transaction, device_id: str, values: Mapping[str, object]) -> None:
    """Take a box's registration anew: its sequence numbers may start again."""
    revision = col(DeviceRow.inputs_revision) + 1
    statement = update(DeviceRow).where(col(DeviceRow.id) == device_id)
    tx.exec(statement.values(**values, profile_sequence=-1, inputs_revision=revision))


def disown(tx: Transaction, device_id: str) -> None:
    """Free the box's serial: any enrolment token may take it up again."""
    tx.exec(update(DeviceRow).where(col(DeviceRow.id) == device_id).values(enrolled_by=None))


def touch_fleet(tx: Transaction) -> None:
    """Make every box's decision due: a release or a policy changed."""
    tx.exec(update(FleetRow).values(revision=col(FleetRow.revision) + 1))


@dataclass(frozen=True, slots=True)
class Decided:
    """What deciding for a box needs: what it said of itself, and what was decided for it."""

    id: str
    labels: str
    profile: str
    inputs_revision: int
    decided_inputs: int
    decided_fleet: int
    generation: int
    etag: str
    state: str | None


_DECIDED = sa.select(*[devices.c[name] for name in Decided.__dataclass_fields__])


def decided(tx: CoreTransaction, ids: Iterable[str]) -> dict[str, Decided]:
    """Return the boxes that exist, by id."""
    rows = tx.execute(_DECIDED.where(devices.c.id.in_(list(ids))))
    return {row[0]: Decided(*row) for row in rows}


def fleet_revision(tx: CoreTransaction) -> int:
    revision: int = tx.execute(sa.select(fleet.c.revision)).scalar_one()
    return revision


def lock(tx: CoreTransaction, ids: Iterable[str]) -> None:
    """Hold the boxes against other processes until the commit (SQLite holds all already)."""
    statement = (
        sa.select(devices.c.id)
        .where(devices.c.id.in_(sorted(ids)))
        .order_by(devices.c.id)
        .with_for_update(key_share=True)
    )
    tx.execute(statement)


_SET_PROFILE = (
    sa.update(devices)
    .where(devices.c.id == bindparam("of"), devices.c.profile_sequence < bindparam("at"))
    .values(
        profile=bindparam("to"),
        profile_sequence=bindparam("at"),
        inputs_revision=devices.c.inputs_revision + 1,
    )
)
_TOUCH = (
    sa.update(devices)
    .where(devices.c.id == bindparam("of"))
    .values(inputs_revision=devices.c.inputs_revision + 1)
)
_SEEN = (
    sa.update(devices)
    .where(
        devices.c.id == bindparam("of"),
        func.coalesce(devices.c.last_seen_at < bindparam("at"), True),
    )
    .values(last_seen_at=bindparam("at"))
)


def set_profiles(tx: CoreTransaction, profiles: Iterable[tuple[str, int, str]]) -> None:
    """Store (device, sequence, profile) each, unless a later one is stored."""
    tx.execute(_SET_PROFILE, [{"of": d, "at": s, "to": p} for d, s, p in sorted(profiles)])


def touch(tx: CoreTransaction, ids: Iterable[str]) -> None:
    """Make the boxes' decisions due: what they saw of their points changed."""
    due = [{"of": device_id} for device_id in sorted(set(ids))]
    if due:
        tx.execute(_TOUCH, due)


def seen(tx: CoreTransaction, times: Mapping[str, datetime]) -> None:
    """Note the times of last contact, never backwards."""
    tx.execute(_SEEN, [{"of": device_id, "at": at} for device_id, at in sorted(times.items())])


def decide(
    tx: CoreTransaction,
    was: Decided,
    *,
    fleet_revision: int,
    generation: int,
    etag: str,
    state: str,
) -> bool:
    """Store what a box should be; False when another process has decided meanwhile."""
    statement = (
        sa.update(devices)
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
    sa.select(
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


def polled(tx: CoreTransaction, hashes: Iterable[str], now: datetime) -> dict[str, Polled]:
    """Return what stands for the boxes behind the token hashes, in one statement."""
    found = {}
    for sha256, kind, unrevoked, expires_at, device_id, etag, stands in tx.execute(
        _POLL, {"hashes": list(hashes)}
    ):
        live = bool(unrevoked) and (expires_at is None or expires_at > now)
        found[sha256] = Polled(kind, live, device_id, etag or "", bool(stands))
    return found
