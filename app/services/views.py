"""What operators are shown: rows turned into answers, a page at a time."""

import json
from datetime import datetime
from typing import Generic, TypeVar

from app.database import Transaction
from app.domain.desired import State
from app.domain.pareto import lab_front
from app.errors import NotFoundError
from app.repositories import decisions, devices, policies, releases, reports
from app.repositories.policies import Policy
from app.services import catalogue
from app.tables import DeviceRow
from contract.base import Message
from contract.decision import Action, Decision
from contract.device import DeviceProfile
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.release import Variant
from contract.report import ReportBody

Item = TypeVar("Item")


class Page(Message, Generic[Item]):
    """``next_cursor`` asks for the following page; null when this is the last."""

    items: tuple[Item, ...]
    next_cursor: str | None


class DeviceView(Message):
    """A box as it last reported itself, and what it should be."""

    id: str
    serial: str
    labels: dict[str, str]
    profile: DeviceProfile
    registered: bool
    created_at: datetime
    last_seen_at: datetime | None
    generation: int
    action: Action | None
    release_number: int | None
    policy_name: str | None
    point_key: str | None
    decision_id: str | None
    why: str


class DecisionSummary(Message):
    id: str
    device_id: str
    created_at: datetime
    action: Action
    release_number: int
    policy_name: str
    policy_version: int
    point_key: str | None


class DecisionView(Message):
    """A decision with the verdict on every point, and the inputs it came from."""

    id: str
    device_id: str
    decision: Decision
    inputs: dict[str, object]


class ReportView(Message):
    id: int
    key: str
    sequence: int
    sent_at: datetime
    received_at: datetime
    body: ReportBody


class ReleaseView(Message):
    number: int
    title: str
    task: str
    sha256: str
    created_at: datetime
    retired_at: datetime | None


class CatalogueView(Message):
    """The variants of the release that boxes are on."""

    release_number: int
    task: str
    variants: tuple[Variant, ...]


class FrontierEntry(Message):
    """``non_dominated`` by the lab's figures: no other point is as good in everything."""

    key: str
    non_dominated: bool
    point: FrontierPoint


class FrontierView(Message):
    release_number: int
    points: tuple[FrontierEntry, ...]


class PolicyView(Message):
    """``body`` is the newest version; ``created_at`` is when that version was made."""

    name: str
    version: int
    created_at: datetime
    retired_at: datetime | None
    body: PolicyBody


class PolicyVersionView(Message):
    version: int
    created_at: datetime
    body: PolicyBody


class PolicyHistoryView(PolicyView):
    versions: tuple[PolicyVersionView, ...]


def device_page(tx: Transaction, *, cursor: str | None, limit: int) -> Page[DeviceView]:
    rows = devices.page(tx, after=cursor, limit=limit + 1)
    items = tuple(_device(row) for row in rows[:limit])
    return Page(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


def device(tx: Transaction, device_id: str) -> DeviceView:
    return _device(_known_device(tx, device_id))


def _known_device(tx: Transaction, device_id: str) -> DeviceRow:
    row = devices.find(tx, device_id)
    if row is None:
        raise NotFoundError("device", device_id)
    return row


def _device(row: DeviceRow) -> DeviceView:
    state = None if row.state is None else State.model_validate_json(row.state)
    return DeviceView(
        id=row.id,
        serial=row.serial,
        labels=json.loads(row.labels),
        profile=DeviceProfile.model_validate_json(row.profile),
        registered=row.enrolled_by is not None,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        generation=row.generation,
        action=state.action if state else None,
        release_number=state.release_number if state else None,
        policy_name=state.policy_name if state else None,
        point_key=state.point_key if state else None,
        decision_id=state.decision_id if state else None,
        why=state.why if state else "The box has not polled yet.",
    )


def decision_page(
    tx: Transaction, device_id: str, *, cursor: str | None, limit: int
) -> Page[DecisionSummary]:
    _known_device(tx, device_id)
    rows = decisions.page(tx, device_id, before=cursor, limit=limit + 1)
    items = tuple(DecisionSummary.model_validate(row, from_attributes=True) for row in rows[:limit])
    return Page(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


def decision(tx: Transaction, decision_id: str) -> DecisionView:
    found = decisions.find(tx, decision_id)
    if found is None:
        raise NotFoundError("decision", decision_id)
    return DecisionView(
        id=found.id,
        device_id=found.device_id,
        decision=Decision.model_validate_json(found.document),
        inputs=json.loads(found.inputs),
    )


def report_page(
    tx: Transaction, device_id: str, *, cursor: int | None, limit: int
) -> Page[ReportView]:
    _known_device(tx, device_id)
    rows = reports.page(tx, device_id, before=cursor, limit=limit + 1)
    items = tuple(
        ReportView.model_validate({**row.model_dump(), "body": json.loads(row.body)})
        for row in rows[:limit]
    )
    return Page(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


def release_page(tx: Transaction, *, cursor: int | None, limit: int) -> Page[ReleaseView]:
    rows = releases.page(tx, before=cursor, limit=limit + 1)
    items = tuple(ReleaseView.model_validate(row, from_attributes=True) for row in rows[:limit])
    return Page(items=items, next_cursor=str(items[-1].number) if len(rows) > limit else None)


def release_summary(tx: Transaction, number: int) -> ReleaseView:
    row = releases.summary(tx, number)
    if row is None:
        raise NotFoundError("release", number)
    return ReleaseView.model_validate(row, from_attributes=True)


def current_catalogue(tx: Transaction) -> CatalogueView:
    current = catalogue.current_release(tx)
    return CatalogueView(
        release_number=current.number, task=current.task, variants=current.variants
    )


def frontier(tx: Transaction, *, variant: str | None, task: str | None) -> FrontierView:
    """Show the current release's points; the front is that of all its points."""
    current = catalogue.current_release(tx)
    front = lab_front(current.points)
    points = tuple(
        FrontierEntry(key=p.key, non_dominated=p.key in front, point=p)
        for p in current.points
        if variant in {None, p.variant} and task in {None, p.task}
    )
    return FrontierView(release_number=current.number, points=points)


def policy_page(tx: Transaction, *, cursor: str | None, limit: int) -> Page[PolicyView]:
    rows = policies.page(tx, after=cursor, limit=limit + 1)
    items = tuple(policy(row) for row in rows[:limit])
    return Page(items=items, next_cursor=items[-1].name if len(rows) > limit else None)


def policy(found: Policy) -> PolicyView:
    row, newest = found
    return PolicyView(
        name=row.name,
        version=row.version,
        created_at=newest.created_at,
        retired_at=row.retired_at,
        body=PolicyBody.model_validate_json(newest.body),
    )


def policy_history(tx: Transaction, name: str) -> PolicyHistoryView:
    found = policies.find(tx, name)
    if found is None:
        raise NotFoundError("policy", name)
    versions = tuple(
        PolicyVersionView(
            version=row.version,
            created_at=row.created_at,
            body=PolicyBody.model_validate_json(row.body),
        )
        for row in policies.versions(tx, name)
    )
    return PolicyHistoryView(**dict(policy(found)), versions=versions)
