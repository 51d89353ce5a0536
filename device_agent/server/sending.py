"""Uploads what waits in the outbox: in order, safe to repeat, at a pace that spares the server."""

import structlog

from contract.report import Report, ReportBatch
from device_agent.errors import AgentError, RefusedError, ServerAwayError
from device_agent.loop.box import Box
from device_agent.server.outbox import BATCH

log = structlog.get_logger()
BATCHES_A_ROUND = 4
"""In the loop a full outbox goes out over several polls: a whole fleet may come back at once."""
_NEVER_TAKEN = {400, 413, 422}


def send_all(box: Box, most_batches: int | None = None) -> None:
    """Upload everything, or ``most_batches``; raises what the server makes of it.

    A batch that the server will never take is sent one by one, and the report that it refuses
    is given up: it must not hold up the others for ever.
    """
    limit, sent = BATCH, 0
    while (most_batches is None or sent < most_batches) and (batch := box.outbox.batch(limit)):
        try:
            _send_batch(box, batch)
            sent += limit == BATCH
        except RefusedError as exc:
            if exc.status not in _NEVER_TAKEN:
                raise
            if len(batch.reports) == 1:
                _give_up(box, batch.reports[0], exc)
            limit = 1


def send_quietly(box: Box, most_batches: int | None = None) -> None:
    """Upload; trouble is logged and what was not taken is kept."""
    try:
        send_all(box, most_batches)
    except AgentError as exc:
        log.warning(exc.name, reason=str(exc), kept=len(box.outbox))


def _send_batch(box: Box, batch: ReportBatch) -> None:
    keys = [report.key for report in batch.reports]
    box.outbox.mark_tried(keys)
    receipts = box.client.send(batch)
    box.world.mark("reports sent")
    stored = [r.key for r in receipts.receipts if r.key in keys]
    if not stored:
        message = "the server acknowledged none of the reports; they are kept"
        raise ServerAwayError(message)
    box.outbox.acknowledge(stored)
    box.world.mark("reports acknowledged")


def _give_up(box: Box, report: Report, exc: RefusedError) -> None:
    log.error("report_refused", key=report.key, kind=report.body.kind, reason=str(exc))
    box.outbox.acknowledge([report.key])
