"""What each operation answers when all is well: a sentence, and one worked example.

The examples are views of the one fleet in ``app.examples.fleet``, so they agree with each other.
Nothing is made before the document is asked for.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from pydantic import BaseModel

from app.domain.pareto import lab_front
from app.examples import POLICY_VERSION, REPORT_BATCH, fleet
from app.routes.health import Health
from app.services.views import (
    CatalogueView,
    DecisionSummary,
    DecisionView,
    DeviceView,
    FrontierEntry,
    FrontierView,
    Page,
    PolicyHistoryView,
    PolicyVersionView,
    PolicyView,
    ReleaseView,
    ReportView,
)
from contract.desired import Assignment, DesiredState
from contract.device import Registered
from contract.inference import Prediction
from contract.policy import PolicyBody
from contract.report import ReportBatch, ReportReceipt, ReportReceipts

TOKEN = "pfd_8xUuWnS0l2v7aQ0Jr4cZt1mFhY6kPbE3oGdRi5yNsLw"  # noqa: S105 - made up, opens nothing
RELEASE_SHA256 = "5f2c1ad0f7b2f8a1de0a6a3b1c94e8d7605b4c3f2e1d0a9b8c7d6e5f4a3b2c1d"
CHANGED_AT = fleet.DECIDED_AT + timedelta(days=1)


class Answer(NamedTuple):
    """``example`` makes the body."""

    description: str
    example: Callable[[], BaseModel]


def device_view() -> DeviceView:
    decision = fleet.decision()
    return DeviceView(
        id=fleet.DEVICE_ID,
        serial=fleet.SERIAL,
        labels=fleet.LABELS,
        profile=fleet.PROFILE,
        registered=True,
        created_at=fleet.ENROLLED_AT,
        last_seen_at=CHANGED_AT,
        generation=1,
        action=decision.action,
        release_number=decision.release_number,
        policy_name=decision.policy_name,
        point_key=fleet.CHOSEN.key,
        decision_id=fleet.DECISION_ID,
        why=decision.why,
    )


def revoked_device_view() -> DeviceView:
    return device_view().model_copy(update={"registered": False})


def device_page() -> Page[DeviceView]:
    return Page[DeviceView](items=(device_view(),), next_cursor=None)


def decision_page() -> Page[DecisionSummary]:
    decision = fleet.decision()
    summary = DecisionSummary(
        id=fleet.DECISION_ID,
        device_id=fleet.DEVICE_ID,
        created_at=decision.decided_at,
        action=decision.action,
        release_number=decision.release_number,
        policy_name=decision.policy_name,
        policy_version=decision.policy_version,
        point_key=fleet.CHOSEN.key,
    )
    return Page[DecisionSummary](items=(summary,), next_cursor=None)


def decision_view() -> DecisionView:
    return DecisionView(
        id=fleet.DECISION_ID,
        device_id=fleet.DEVICE_ID,
        decision=fleet.decision(),
        inputs={
            "labels": fleet.LABELS,
            "profile": fleet.PROFILE.model_dump(mode="json"),
            "observations": {},
            "current": None,
            "inputs_revision": 1,
            "fleet_revision": 3,
        },
    )


def _batches() -> list[ReportBatch]:
    return [ReportBatch.model_validate(example["value"]) for example in REPORT_BATCH.values()]


def report_page() -> Page[ReportView]:
    reports = [report for batch in _batches() for report in batch.reports]
    views = tuple(
        ReportView(
            id=number,
            key=report.key,
            sequence=report.sequence,
            sent_at=report.sent_at,
            received_at=report.sent_at + timedelta(seconds=1),
            body=report.body,
        )
        for number, report in enumerate(reports, start=41)
    )
    return Page[ReportView](items=views[::-1], next_cursor=str(views[0].id))


def receipts() -> ReportReceipts:
    reports = _batches()[0].reports
    return ReportReceipts(
        receipts=tuple(ReportReceipt(key=report.key, status="stored") for report in reports)
    )


def registered() -> Registered:
    return Registered(device_id=fleet.DEVICE_ID, token=TOKEN)


def desired() -> DesiredState:
    decision = fleet.decision()
    assignment = Assignment(
        point=fleet.CHOSEN,
        variant=fleet.RELEASE.variant(fleet.CHOSEN.variant),
        budget_bytes=decision.budget.total_bytes,
    )
    return DesiredState(
        generation=1,
        action=decision.action,
        release_number=decision.release_number,
        decision_id=fleet.DECISION_ID,
        assignment=assignment,
        accuracy_floor=fleet.POLICY.accuracy_floor,
        fallback=fleet.POLICY.fallback,
        images_may_leave=fleet.POLICY.images_may_leave,
        why=decision.why,
        next_better=decision.next_better,
    )


def release() -> BaseModel:
    return fleet.RELEASE


def release_view() -> ReleaseView:
    return ReleaseView(
        number=fleet.RELEASE.number,
        title=fleet.RELEASE.title,
        task=fleet.RELEASE.task,
        sha256=RELEASE_SHA256,
        created_at=fleet.LOADED_AT,
        retired_at=None,
    )


def retired_release_view() -> ReleaseView:
    return release_view().model_copy(update={"retired_at": CHANGED_AT})


def release_page() -> Page[ReleaseView]:
    return Page[ReleaseView](items=(release_view(),), next_cursor=None)


def catalogue() -> CatalogueView:
    return CatalogueView(
        release_number=fleet.RELEASE.number,
        task=fleet.RELEASE.task,
        variants=fleet.RELEASE.variants,
    )


def frontier() -> FrontierView:
    front = lab_front(fleet.POINTS)
    points = tuple(
        FrontierEntry(key=p.key, non_dominated=p.key in front, point=p) for p in fleet.POINTS
    )
    return FrontierView(release_number=fleet.RELEASE.number, points=points)


def policy_view() -> PolicyView:
    return PolicyView(
        name=fleet.POLICY_NAME,
        version=fleet.POLICY_VERSION,
        created_at=fleet.LOADED_AT,
        retired_at=None,
        body=fleet.POLICY,
    )


def changed_policy_view() -> PolicyView:
    body = PolicyBody.model_validate(POLICY_VERSION["lower-floor"]["value"])
    changes = {"version": fleet.POLICY_VERSION + 1, "created_at": CHANGED_AT, "body": body}
    return policy_view().model_copy(update=changes)


def retired_policy_view() -> PolicyView:
    return policy_view().model_copy(update={"retired_at": CHANGED_AT})


def policy_page() -> Page[PolicyView]:
    return Page[PolicyView](items=(policy_view(),), next_cursor=None)


def policy_history() -> PolicyHistoryView:
    newest = changed_policy_view()
    versions = tuple(
        PolicyVersionView(version=p.version, created_at=p.created_at, body=p.body)
        for p in (newest, policy_view())
    )
    return PolicyHistoryView(**dict(newest), versions=versions)


def prediction() -> Prediction:
    return Prediction(
        label="defect",
        probabilities={"ok": 0.08, "defect": 0.92},
        variant=fleet.CHOSEN.variant,
        release_number=fleet.RELEASE.number,
        latency_ms=3.4,
        source="cloud",
    )


def health() -> Health:
    return Health(status="ok")


ANSWERS: Mapping[str, Answer] = {
    "get /v1/devices": Answer("One page of boxes", device_page),
    "get /v1/devices/{device_id}": Answer("The box, and what it should be", device_view),
    "post /v1/devices/{device_id}/revoke": Answer(
        "The box, no longer registered", revoked_device_view
    ),
    "get /v1/devices/{device_id}/decisions": Answer(
        "One page of the box's decisions", decision_page
    ),
    "get /v1/devices/{device_id}/reports": Answer("One page of the box's reports", report_page),
    "get /v1/decisions/{decision_id}": Answer(
        "The decision: a verdict on every point, and the inputs", decision_view
    ),
    "get /v1/releases": Answer("One page of releases", release_page),
    "get /v1/releases/{number}": Answer("The release in full", release),
    "post /v1/releases/{number}/retire": Answer("The release, retired", retired_release_view),
    "get /v1/catalogue": Answer("The variants of the release that boxes are on", catalogue),
    "get /v1/frontier": Answer("The measured points of the release that boxes are on", frontier),
    "get /v1/policies": Answer("One page of policies", policy_page),
    "post /v1/policies": Answer("The policy, at version 1", policy_view),
    "get /v1/policies/{name}": Answer(
        "The policy and every version, the newest first", policy_history
    ),
    "post /v1/policies/{name}/versions": Answer(
        "The policy, at its new version", changed_policy_view
    ),
    "post /v1/policies/{name}/retire": Answer("The policy, retired", retired_policy_view),
    "post /v1/inference": Answer("What the image shows, and which variant says so", prediction),
    "post /v1/devices/register": Answer(
        "The box's name and its token, which is shown only here", registered
    ),
    "get /v1/device/desired": Answer("What the box should be now", desired),
    "post /v1/device/reports": Answer("One receipt a report; all are on disk", receipts),
    "get /healthz": Answer("The process lives", health),
    "get /readyz": Answer("The server can work", health),
}
