"""``device_agent run``: the agent itself."""

import signal
import threading
from collections.abc import Callable
from typing import Annotated, Any

import structlog
import typer

from device_agent.assemble import open_agent
from device_agent.commands.options import (
    JsonOption,
    ending,
    load_settings,
    print_json,
    require_server,
    setting_options,
)
from device_agent.display import progress_writer
from device_agent.log import configure_logging
from device_agent.loop.agent import Agent
from device_agent.loop.world import World
from device_agent.service.notify import Notifier, living_wait
from device_agent.serving.services import Services
from device_agent.settings import AgentSettings
from device_agent.training.delegate import take_leaf

log = structlog.get_logger()


@setting_options()
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Settle, report and exit.")] = False,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Print the trainer's progress as JSON lines.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Enrol, train what the server assigns within the cap, serve, report.

    Log lines go to standard error, as JSON unless it is a terminal. With --json they always are,
    and what the box settled on is the last line of standard output.

    Example: device_agent run --server https://fleet.example --data images --ram-cap 700MB
    --enrol-token enrol.token
    """
    configure_logging(verbose=verbose, as_json=True if as_json else None)
    known = load_settings(**settings)
    require_server(known)
    with ending():
        facts = run_agent(known, once=once, progress_json=progress_json)
        if as_json:
            print_json(facts)


def run_agent(
    settings: AgentSettings, *, once: bool = False, progress_json: bool = False
) -> dict[str, Any]:
    """Run until stopped, or until settled; return what the box is then."""
    notifier = Notifier.from_environment()
    take_leaf()
    world = _world(notifier)
    on_progress = progress_writer(as_json=progress_json)
    with open_agent(settings, world=world, on_progress=on_progress) as agent:
        services = Services(agent)
        services.start()
        notifier.ready()
        notifier.status(agent.state.step)
        try:
            _go(agent, once=once)
        finally:
            notifier.stopping()
            services.close(finish=once)
        return {"step": agent.state.step, "active_model": agent.box.shelf.active_id()}


def _world(notifier: Notifier) -> World:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wait: Callable[[float], object] = living_wait(stop, notifier)
    return World(stop=stop, mark=notifier.marked, sleep=wait, alive=notifier.alive)


def _go(agent: Agent, *, once: bool) -> None:
    if not once:
        return agent.run_forever()
    step = agent.run_once()
    log.info("settled", step=step, active=agent.box.shelf.active_id())
    return None
