"""The command line: ``device_agent run | status | predict``.

Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense;
5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable;
9 no prediction; 130 stopped by a signal.
"""

import os

import typer

from device_agent.children import QUIET
from device_agent.commands.options import EPILOG
from device_agent.commands.predict import predict
from device_agent.commands.run import run
from device_agent.commands.status import status

COMMANDS = (run, status, predict)
app = typer.Typer(
    help="The agent on a box: trains within its memory, serves, reports.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command(epilog=EPILOG)(command)


def main() -> None:
    """Entry point of the console script."""
    os.environ.update(QUIET)
    app()
