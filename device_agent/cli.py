"""The command line of a box: one command a file in ``device_agent.commands``.

Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense;
5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable;
9 no prediction; 10 doctor found trouble; 11 the service could not be managed; 130 stopped by a
signal.
"""

import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from device_agent.commands.check import check
from device_agent.commands.config import config
from device_agent.commands.doctor import doctor
from device_agent.commands.enrol import enrol
from device_agent.commands.evaluate import evaluate
from device_agent.commands.factory import factory
from device_agent.commands.inspect import inspect
from device_agent.commands.once import once
from device_agent.commands.options import EPILOG, with_config
from device_agent.commands.predict import predict
from device_agent.commands.rollback import rollback
from device_agent.commands.run import run
from device_agent.commands.service import service
from device_agent.commands.status import status
from device_agent.training.children import QUIET

COMMANDS = (
    enrol,
    run,
    once,
    status,
    check,
    doctor,
    config,
    predict,
    evaluate,
    inspect,
    rollback,
    factory,
)  # fmt: skip
EXPLANATION = """\
device_agent turns this machine into a box of a Paretofleet: it trains a small network on the
images of this line, within the memory that you allow, serves it here, and reports figures.

The usual order:
  device_agent enrol --server https://fleet.example --enrol-token enrol.token
                                     introduce the box; an operator makes the token
  device_agent check                 see whether the images will do
  device_agent run                   train, serve and report until stopped
  device_agent service install       or: start with the machine, under systemd
  device_agent status                what the box is, which model is active, and why
  device_agent doctor                what is wrong, and the command that mends it

Settings come from the command line, else from PARETOFLEET_AGENT_<NAME> in the environment, else
from a file: --config FILE, PARETOFLEET_AGENT_CONFIG, /etc/paretofleet/agent.toml or agent.toml in
your own configuration folder. `device_agent config` shows each and where it came from.

Every command explains itself with --help, and prints JSON with --json.
"""
app = typer.Typer(
    help="The agent on a box: trains within its memory, serves, reports.",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def explain(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The agent on a box: trains within its memory, serves, reports."""  # noqa: D401 - the help
    if version:
        sys.stdout.write(f"{metadata.version('paretofleet')}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stdout.write(EXPLANATION)


for command in COMMANDS:
    app.command(epilog=EPILOG)(with_config(command))
app.add_typer(service, name="service")


def main() -> None:
    """Entry point of the console script."""
    os.environ.update(QUIET)
    app()
