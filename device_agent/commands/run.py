"""``device_agent run``: the agent itself."""

import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer

from device_agent.agent import Agent
from device_agent.assemble import open_agent, open_desk
from device_agent.commands.options import StateOption, ending, load_settings, parse_labels
from device_agent.display import progress_writer
from device_agent.log import configure_logging
from device_agent.settings import AgentSettings
from device_agent.world import World

log = structlog.get_logger()


def run(  # noqa: PLR0913 - one parameter for each documented option
    *,
    server: Annotated[str | None, typer.Option(help="URL of the server.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds ok/ and defect/.")] = None,
    test_data: Annotated[
        Path | None, typer.Option(help="Folder of images to judge by; else --data is split.")
    ] = None,
    state: StateOption = None,
    once: Annotated[bool, typer.Option("--once", help="Settle, report and exit.")] = False,
    ram_cap: Annotated[
        str | None, typer.Option(help="Most memory of agent and trainer: 256MB, 4GB (decimal).")
    ] = None,
    enrol_token: Annotated[
        str | None, typer.Option(help="Enrolment token, or a file that holds it.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label k=v that policies select by; repeatable.")
    ] = None,
    serve_port: Annotated[
        int | None, typer.Option(help="Serve predictions on 127.0.0.1:PORT.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Serial of the box; default: host name.")] = None,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Print the trainer's progress as JSON lines.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
) -> None:
    """Enrol, train what the server assigns within the cap, serve, report."""
    configure_logging(verbose=verbose)
    settings = load_settings(
        server=server, data=data, test_data=test_data, state=state, ram_cap=ram_cap,
        enrol_token=enrol_token, labels=parse_labels(label or []) or None,
        serve_port=serve_port, name=name,
    )  # fmt: skip
    if not settings.server:
        raise typer.BadParameter("name the server: --server https://fleet.example:8000")
    with ending():
        _run(settings, once=once, progress_json=progress_json)


def _run(settings: AgentSettings, *, once: bool, progress_json: bool) -> None:
    world = World()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: world.stop.set())
    on_progress = progress_writer(as_json=progress_json)
    with open_agent(settings, world=world, on_progress=on_progress) as agent:
        desk = None if settings.serve_port is None else open_desk(agent, settings.serve_port)
        if desk is not None:
            desk.start()
            log.info("serving", port=desk.port)
        try:
            _go(agent, once=once)
        finally:
            if desk is not None:
                desk.close()


def _go(agent: Agent, *, once: bool) -> None:
    if not once:
        return agent.run_forever()
    step = agent.run_once()
    log.info("settled", step=step, active=agent.box.shelf.active_id())
    return None
