"""Taking in what boxes report: stored once, its consequences drawn once, in any order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.database import CoreTransaction
from app.domain.observations import Seen, after
from app.errors import ForbiddenError, UnauthenticatedError
from app.repositories import credentials, devices, reports
from app.repositories.credentials import Credential
from app.repositories.reports import PointOnBox
from contract.report import (
    OutcomeBody,
    ProfileBody,
    Report,
    ReportBatch,
    ReportReceipt,
    ReportReceipts,
)

Stored = tuple[str, Report]


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A unit of work for the writer: the reports of whoever holds this token."""

    token_sha256: str
    batch: ReportBatch
    now: datetime


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """A unit of work for the writer: when boxes were last heard of."""

    times: Mapping[str, datetime]


def note_heartbeats(tx: CoreTransaction, units: Sequence[Heartbeats]) -> list[None]:
    for unit in units:
        devices.seen(tx, unit.times)
    return [None] * len(units)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a check-in, and the box it came from."""

    device_id: str
    receipts: ReportReceipts


def check_in_all(tx: CoreTransaction, units: Sequence[CheckIn]) -> list[Accepted | Exception]:
    """Store every unit's reports in a few statements; unknown tokens get their error."""
    found = credentials.find_many(tx, {unit.token_sha256 for unit in units})
    owners = [_owner(found.get(unit.token_sha256), unit.now) for unit in units]
    accepted = [
        (owner, unit) for owner, unit in zip(owners, units, strict=True) if isinstance(owner, str)
    ]
    rows = [_row(owner, r, unit.now) for owner, unit in accepted for r in unit.batch.reports]
    new = reports.add(tx, rows)
    first = [
        (owner, report)
        for owner, unit in accepted
        for report in unit.batch.reports
        if (owner, report.key) in new
    ]
    _draw_consequences(tx, _once(first), units[-1].now)
    return [
        owner if isinstance(owner, Exception) else Accepted(owner, _receipts(owner, unit, new))
        for owner, unit in zip(owners, units, strict=True)
    ]


def _owner(credential: Credential | None, now: datetime) -> str | Exception:
    if credential is None or not credentials.is_live(credential, now):
        return UnauthenticatedError("device")
    if credential.kind != "device" or credential.device_id is None:
        return ForbiddenError(credential.kind, "device")
    return credential.device_id


def _row(device_id: str, report: Report, now: datetime) -> dict[str, object]:
    return {
        "device_id": device_id,
        "key": report.key,
        "sequence": report.sequence,
        "kind": report.body.kind,
        "sent_at": report.sent_at,
        "received_at": now,
        "body": report.body.model_dump_json(),
    }


def _receipts(owner: str, unit: CheckIn, new: set[tuple[str, str]]) -> ReportReceipts:
    """Return the receipts; of several with one key, the first one takes 'stored'.

    The keys were validated on the way in, so they are not again.
    """
    receipts = []
    for report in unit.batch.reports:
        is_new = (owner, report.key) in new
        new.discard((owner, report.key))
        status: Literal["stored", "duplicate"] = "stored" if is_new else "duplicate"
        receipts.append(ReportReceipt.model_construct(key=report.key, status=status))
    return ReportReceipts.model_construct(receipts=tuple(receipts))


def _once(found: Sequence[Stored]) -> list[Stored]:
    kept = {(owner, report.key): (owner, report) for owner, report in reversed(found)}
    return list(kept.values())


def _draw_consequences(tx: CoreTransaction, new: Sequence[Stored], now: datetime) -> None:
    profiles = [(owner, r) for owner, r in new if isinstance(r.body, ProfileBody)]
    outcomes = [(owner, r) for owner, r in new if isinstance(r.body, OutcomeBody)]
    if profiles:
        devices.set_profiles(
            tx,
            [
                (owner, r.sequence, r.body.profile.model_dump_json())
                for owner, r in profiles
                if isinstance(r.body, ProfileBody)
            ],
        )
    if outcomes:
        _learn(tx, outcomes, now)


def _learn(tx: CoreTransaction, outcomes: Sequence[Stored], now: datetime) -> None:
    """Add outcomes to what the boxes saw of their points; their decisions are due again."""
    by_point: dict[PointOnBox, list[tuple[int, OutcomeBody]]] = defaultdict(list)
    for owner, report in outcomes:
        body = report.body
        if isinstance(body, OutcomeBody) and body.point_key is not None:
            point = PointOnBox(owner, min(body.release_number, 2**31 - 1), body.point_key)
            by_point[point].append((report.sequence, body))
    if not by_point:
        return
    devices.lock(tx, {point.device_id for point in by_point})
    before = _seen_before(tx, by_point)
    learnt = {point: _fold(before.get(point, Seen()), new) for point, new in by_point.items()}
    reports.put_seen(tx, learnt, now)
    devices.touch(tx, {point.device_id for point in learnt if learnt[point] != before.get(point)})


def _seen_before(
    tx: CoreTransaction, points: Mapping[PointOnBox, object]
) -> dict[PointOnBox, Seen]:
    before = {}
    for device_id, release in {(p.device_id, p.release_number) for p in points}:
        for key, seen in reports.seen_of(tx, device_id, release).items():
            before[PointOnBox(device_id, release, key)] = seen
    return before


def _fold(seen: Seen, outcomes: Sequence[tuple[int, OutcomeBody]]) -> Seen:
    for sequence, outcome in outcomes:
        seen = after(seen, outcome, sequence)
    return seen
