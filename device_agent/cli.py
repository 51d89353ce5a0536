"""The command line: ``device_agent run | status | predict``.

Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense;
5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable;
9 no prediction; 130 stopped by a signal.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError

from device_agent.agent import Agent
from device_agent.assemble import make_predictor, open_agent, open_desk
from device_agent.children import QUIET
from device_agent.display import print_prediction, print_status, progress_writer
from device_agent.errors import AgentError, BadImageError, StoppedError
from device_agent.log import configure_logging
from device_agent.paths import StatePaths
from device_agent.settings import AgentSettings
from device_agent.state import StateStore
from device_agent.status import read_status
from device_agent.world import World

log = structlog.get_logger()
_EPILOG = (
    "Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense; "
    "5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable; "
    "9 no prediction; 130 stopped by a signal. Sizes are decimal: 1 MB = 1,000,000 bytes. An "
    "option can be an environment variable: PARETOFLEET_AGENT_ plus its name, such as "
    "PARETOFLEET_AGENT_RAM_CAP; labels are one JSON object in PARETOFLEET_AGENT_LABELS. Options of "
    "the command line alone: --once, --progress-json, --verbose, --json."
)
app = typer.Typer(
    help="The agent on a box: trains within its memory, serves, reports.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder of everything the agent must remember.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog=_EPILOG)
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
    with _ending():
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


@app.command(epilog=_EPILOG)
def status(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Say what the box is, what is active, why, and what waits to be sent."""
    settings = load_settings(state=state)
    with _ending():
        facts = read_status(StatePaths(settings.state))
        if as_json:
            sys.stdout.write(json.dumps(facts) + "\n")
        else:
            print_status(facts)


@app.command(epilog=_EPILOG)
def predict(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    *,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge one image by the active model, or by the cloud where the policy allows it."""
    configure_logging()
    settings = load_settings(state=state)
    with _ending():
        store = StateStore(StatePaths(settings.state))
        remembered = store.load().desired
        prediction = make_predictor(store, lambda: remembered, settings).predict(read_image(image))
        if as_json:
            sys.stdout.write(prediction.model_dump_json() + "\n")
        else:
            print_prediction(prediction)


def read_image(path: Path) -> bytes:
    """Return the bytes of an image file; raises BadImageError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadImageError(f"{path} cannot be read: {exc.strerror}") from exc


def load_settings(**given: Any) -> AgentSettings:  # noqa: ANN401 - whatever options were given
    """Return the settings; a bad one ends the program with code 2 and its reason."""
    try:
        return AgentSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as exc:
        problems = [
            f"--{str(e['loc'][0]).replace('_', '-') if e['loc'] else 'option'}: {e['msg']}"
            for e in exc.errors(include_input=False, include_url=False)
        ]
        raise typer.BadParameter("; ".join(problems)) from exc


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Turn ``["line=3"]`` into a dictionary; a bad pair ends the program with code 2."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"--label {pair!r}: write it like line=3")
        labels[key] = value
    return labels


class _ending:  # noqa: N801 - reads as a statement
    """Turns a named error into its message and exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, AgentError):
            sys.stderr.write(f"device_agent: {exc}\n")
            raise typer.Exit(exc.exit_code) from exc
        if isinstance(exc, KeyboardInterrupt):
            raise typer.Exit(StoppedError.exit_code) from exc


def main() -> None:
    """Entry point of the console script."""
    os.environ.update(QUIET)
    app()
