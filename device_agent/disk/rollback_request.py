"""A rollback that was asked for: a small file that takes effect before the agent gets to it.

There is one writer of the links and of ``state.json``: the holder of the state directory's lock.
Who asks (a person beside a running agent, or the predictor's threads) writes this file in one
atomic step. Every prediction reads it first, so the model that it names serves at once, whatever
the agent is busy with; the agent enters it into links, state and reports when it comes round.
"""

import os
from typing import Literal

from pydantic import ValidationError

from contract.base import Label, Message, Text
from device_agent.disk.files import fsync_dir, write_atomic
from device_agent.disk.paths import StatePaths

Goal = Literal["previous", "factory", "undo"]


class RollbackRequest(Message):
    """Serve ``model_id`` from now on. ``request_id`` makes obeying it twice harmless."""

    request_id: Label
    goal: Goal
    model_id: Label
    reason: Text


def write_request(paths: StatePaths, request: RollbackRequest) -> None:
    write_atomic(paths.rollback, request.model_dump_json(indent=1).encode())


def read_request(paths: StatePaths) -> RollbackRequest | None:
    """Return what was asked for; None where nothing was, or where the file makes no sense."""
    try:
        return RollbackRequest.model_validate_json(paths.rollback.read_bytes())
    except (OSError, ValidationError):
        return None


def has_request(paths: StatePaths) -> bool:
    """Say so without reading it: cheap enough for several times a second."""
    return os.path.lexists(paths.rollback)


def drop_request(paths: StatePaths, request: RollbackRequest | None) -> None:
    """Forget a request that was obeyed; a newer one that has taken its place stays."""
    if read_request(paths) == request:
        paths.rollback.unlink(missing_ok=True)
        fsync_dir(paths.root)
