"""The two calls that every box makes all day: the poll and the check-in.

Both wait in a batcher and share statements and commits with whatever else waits. Nothing is
written for a poll whose answer still stands, except a time in memory.
"""

from dataclasses import dataclass

import structlog

from app.domain.desired import names_etag, next_poll_s
from app.errors import BusyError, ForbiddenError, UnauthenticatedError
from app.repositories.devices import Polled
from app.runtime import Runtime
from app.services import deciding
from app.services.deciding import Decide
from app.services.reporting import Accepted, CheckIn
from app.services.tokens import hash_of
from contract.desired import DesiredState
from contract.report import ReportBatch, ReportReceipts

log = structlog.get_logger()

BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """``has_changed`` says whether the box must read what it should be."""

    device_id: str
    etag: str
    has_changed: bool
    next_poll_s: int


def token_hash(authorization: str | None) -> str:
    """Return the hash of the bearer token; raises UnauthenticatedError when there is none."""
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        raise UnauthenticatedError
    return hash_of(authorization[len(BEARER) :].strip())


async def poll(
    runtime: Runtime, authorization: str | None, if_none_match: str | None
) -> PollAnswer:
    """Say whether a box's desired state is other than it knows; decide anew only where due."""
    polled: Polled | None = await runtime.poller.submit(token_hash(authorization))
    if polled is None or not polled.is_live:
        raise UnauthenticatedError
    if polled.device_id is None:
        raise ForbiddenError(polled.kind, "device")
    now = runtime.clock()
    etag = polled.etag
    if not polled.stands:
        etag = await runtime.writer.submit(Decide(polled.device_id, now))
    await heard_of(runtime, polled.device_id)
    return PollAnswer(
        device_id=polled.device_id,
        etag=etag,
        has_changed=not names_etag(if_none_match, etag),
        next_poll_s=next_poll_s(runtime.settings.poll_seconds, runtime.jitter()),
    )


def desired(runtime: Runtime, device_id: str) -> tuple[str, DesiredState]:
    """Return the tag and state as last decided."""
    return runtime.read(deciding.desired, device_id)


async def check_in(
    runtime: Runtime, authorization: str | None, batch: ReportBatch
) -> ReportReceipts:
    """Store a box's reports; answers only after they are durable."""
    unit = CheckIn(token_hash(authorization), batch, runtime.clock())
    accepted: Accepted = await runtime.writer.submit(unit)
    await heard_of(runtime, accepted.device_id)
    return accepted.receipts


async def heard_of(runtime: Runtime, device_id: str) -> None:
    """Note in memory that a box called; now and then the notes are written, all at once.

    The call is answered whatever becomes of them: what cannot be written now is kept and written
    with the next.
    """
    now = runtime.clock()
    runtime.heartbeats.times[device_id] = now
    due = runtime.heartbeats.due(now)
    if due is None:
        return
    try:
        await runtime.writer.submit(due)
    except BusyError as exc:
        log.warning("heartbeats_not_written", boxes=len(due.times), error=type(exc).__name__)
        runtime.heartbeats.put_back(due)
