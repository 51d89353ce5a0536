"""``device_agent rollback``: back to an older model; needs no network and no stopped agent."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from device_agent.commands.options import (
    JsonOption,
    StateOption,
    ending,
    load_settings,
    print_json,
)
from device_agent.disk.paths import StatePaths
from device_agent.disk.rollback_request import Goal, RollbackRequest
from device_agent.disk.shelf import Shelf
from device_agent.errors import NothingToRollBackError
from device_agent.log import configure_logging
from device_agent.loop.rollback import ask, settle


class Target(StrEnum):
    """What can be gone back to."""

    previous = "previous"
    factory = "factory"


def rollback(
    *,
    to: Annotated[
        Target | None,
        typer.Option(help="Which model; without it the last known good, else the factory model."),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the rollback back: the model before it serves.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; the server is told.")] = "asked for on the box",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an older model from the next prediction on, and train no more until told otherwise.

    Example: device_agent rollback --to previous
    """
    configure_logging()
    settings = load_settings(state=state)
    with ending():
        if undo and to is not None:
            raise typer.BadParameter("--undo goes back to the model before the rollback: no --to")
        paths = StatePaths(settings.state)
        request = ask(paths, _goal(paths, to, undo=undo), reason)
        facts = _facts(request, entered=settle(paths, settings.outbox_bytes))
        if as_json:
            print_json(facts)
        else:
            sys.stdout.write(_words(facts))


def _goal(paths: StatePaths, to: Target | None, *, undo: bool) -> Goal:
    if undo:
        return "undo"
    if to is not None:
        return to.value
    shelf = Shelf(paths)
    if shelf.active_id() is None:
        raise NothingToRollBackError("no model is active on this box")
    return "factory" if shelf.previous_id() is None else "previous"


def _facts(request: RollbackRequest, *, entered: bool) -> dict[str, Any]:
    return {
        "serving": request.model_id,
        "goal": request.goal,
        "request_id": request.request_id,
        "entered": entered,
    }


def _words(facts: dict[str, Any]) -> str:
    later = "" if facts["entered"] else "; the running agent will enter it into its state"
    return f"{facts['serving']} serves from the next prediction on{later}\n"
