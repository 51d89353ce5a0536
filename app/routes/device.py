"""What a box calls: registration, the poll, the reports. The last two are the hot path."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.concurrency import run_in_threadpool

from app import hot
from app.bodies import parse
from app.deps import EnrollerDep, NowDep, RuntimeDep, get_runtime
from app.errors import EnrolmentUsedUpError, SerialTakenError
from app.examples import REGISTRATION, REPORT_BATCH, fleet
from app.routes.responses import BUSY, FULL, TOO_LARGE, access, bad, problems
from app.services import enrolment
from contract.desired import NEXT_POLL_HEADER, DesiredState
from contract.device import Registered, Registration
from contract.report import ReportBatch, ReportReceipts

JSON = "application/json"
BEARER_ONLY: dict[str, Any] = {"security": [{"Bearer": []}]}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the state that the box has",
    "schema": {"type": "string"},
}
POLL_HEADERS = {
    NEXT_POLL_HEADER: {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "ETag": {"description": "Names this state", "schema": {"type": "string"}},
}
REPORTS_BODY = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/ReportBatch"},
            "examples": REPORT_BATCH,
        }
    },
}

router = APIRouter(prefix="/v1", tags=["boxes' calls"])


@router.get(
    "/device/desired",
    summary="Poll: what this box should be",
    response_model=DesiredState,
    responses={
        200: {"headers": POLL_HEADERS},
        304: {"description": "Nothing changed since `If-None-Match`", "headers": POLL_HEADERS},
        **problems(*access("device", other="operator"), BUSY, FULL),
    },
    openapi_extra={**BEARER_ONLY, "parameters": [IF_NONE_MATCH]},
)
async def desired(request: Request) -> Response:
    """Return the desired state, or 304 when the box has it.

    `Paretofleet-Next-Poll-S` says when to ask again.
    """
    runtime = get_runtime(request)
    headers = request.headers
    answer = await hot.poll(runtime, headers.get("authorization"), headers.get("if-none-match"))
    seconds = str(answer.next_poll_s)
    if not answer.has_changed:
        known = {"ETag": answer.etag, NEXT_POLL_HEADER: seconds}
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=known)
    etag, state = await run_in_threadpool(hot.desired, runtime, answer.device_id)
    fresh = {"ETag": etag, NEXT_POLL_HEADER: seconds}
    return Response(state.model_dump_json(), media_type=JSON, headers=fresh)


@router.post(
    "/device/reports",
    summary="Check in: report what happened",
    response_model=ReportReceipts,
    responses=problems(
        *access("device", other="operator"),
        TOO_LARGE,
        bad("body", "reports.0.sent_at", "Input should have timezone info"),
        BUSY,
        FULL,
    ),
    openapi_extra={**BEARER_ONLY, "requestBody": REPORTS_BODY},
)
async def report(request: Request) -> Response:
    """Store reports, each once by its key: send again whatever was not answered.

    The answer comes after the reports are on disk.
    """
    batch = parse(ReportBatch, await request.body())
    runtime = get_runtime(request)
    receipts = await hot.check_in(runtime, request.headers.get("authorization"), batch)
    return Response(receipts.model_dump_json(), media_type=JSON)


@router.post(
    "/devices/register",
    summary="Register a box with an enrolment token",
    responses=problems(
        *access("enrol", other="operator"),
        EnrolmentUsedUpError(),
        SerialTakenError(fleet.SERIAL),
        TOO_LARGE,
        bad("body", "profile.cores", "Input should be greater than or equal to 1"),
        BUSY,
        FULL,
    ),
)
async def register(
    registration: Annotated[Registration, Body(openapi_examples=REGISTRATION)],
    enroller: EnrollerDep,
    runtime: RuntimeDep,
    now: NowDep,
) -> Registered:
    """Take a box into the fleet and give it its own token.

    Calling again with the same serial and the same enrolment token takes no further use: it
    revokes the box's former token and returns a fresh one.
    """
    return await runtime.write(enrolment.register, enroller.sha256, registration, now)
