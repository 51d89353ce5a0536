"""Boxes and decisions, as operators see them."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from app.deps import NowDep, OperatorDep, RuntimeDep
from app.errors import NotFoundError
from app.examples import fleet
from app.routes.parameters import DecisionId, DeviceId, Limit, NumberCursor, TextCursor
from app.routes.responses import BAD_PAGE, BUSY, FULL, TOO_LONG, access, bad, problems
from app.services import enrolment, views
from app.services.views import DecisionSummary, DecisionView, DeviceView, Page, ReportView

NO_BOX = NotFoundError("device", fleet.DEVICE_ID)
NO_DECISION = NotFoundError("decision", fleet.DECISION_ID)
BAD_BOX = bad("path", "device_id", TOO_LONG)
BAD_DECISION = bad("path", "decision_id", TOO_LONG)

router = APIRouter(prefix="/v1", responses=problems(*access("operator"), BUSY))


@router.get("/devices", summary="List boxes", tags=["boxes"], responses=problems(BAD_PAGE))
def list_devices(
    _: OperatorDep, runtime: RuntimeDep, limit: Limit = 50, cursor: TextCursor = None
) -> Page[DeviceView]:
    """List boxes by their id, each with what it should be and why."""
    return runtime.read(views.device_page, cursor=cursor, limit=limit)


@router.get(
    "/devices/{device_id}",
    summary="Show a box",
    tags=["boxes"],
    responses=problems(NO_BOX, BAD_BOX),
)
def get_device(_: OperatorDep, runtime: RuntimeDep, device_id: DeviceId) -> DeviceView:
    """Show a box as it last reported itself."""
    return runtime.read(views.device, device_id)


@router.post(
    "/devices/{device_id}/revoke",
    summary="Revoke a box",
    tags=["boxes"],
    responses=problems(NO_BOX, BAD_BOX, BUSY, FULL),
)
async def revoke_device(
    _: OperatorDep, runtime: RuntimeDep, now: NowDep, device_id: DeviceId
) -> DeviceView:
    """Revoke the box's token at once and free its serial for another enrolment."""
    await runtime.write(enrolment.revoke, device_id, now)
    return await run_in_threadpool(runtime.read, views.device, device_id)


@router.get(
    "/devices/{device_id}/decisions",
    summary="List a box's decisions",
    tags=["decisions"],
    responses=problems(NO_BOX, BAD_PAGE),
)
def list_decisions(
    _: OperatorDep,
    runtime: RuntimeDep,
    device_id: DeviceId,
    limit: Limit = 50,
    cursor: TextCursor = None,
) -> Page[DecisionSummary]:
    """List decisions, the newest first."""
    return runtime.read(views.decision_page, device_id, cursor=cursor, limit=limit)


@router.get(
    "/devices/{device_id}/reports",
    summary="List a box's reports",
    tags=["boxes"],
    responses=problems(NO_BOX, BAD_PAGE),
)
def list_reports(
    _: OperatorDep,
    runtime: RuntimeDep,
    device_id: DeviceId,
    limit: Limit = 50,
    cursor: NumberCursor = None,
) -> Page[ReportView]:
    """List reports, the last received first."""
    return runtime.read(views.report_page, device_id, cursor=cursor, limit=limit)


@router.get(
    "/decisions/{decision_id}",
    summary="Explain a decision",
    tags=["decisions"],
    responses=problems(NO_DECISION, BAD_DECISION),
)
def get_decision(_: OperatorDep, runtime: RuntimeDep, decision_id: DecisionId) -> DecisionView:
    """Show for every point whether it fits, what it failed and by how much, and the inputs."""
    return runtime.read(views.decision, decision_id)
