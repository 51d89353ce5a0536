"""What the commands share: options, settings, and how a named error ends the program."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from device_agent.errors import AgentError, StoppedError
from device_agent.settings import AgentSettings

EPILOG = (
    "Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense; "
    "5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable; "
    "9 no prediction; 130 stopped by a signal. Sizes are decimal: 1 MB = 1,000,000 bytes. An "
    "option can be an environment variable: PARETOFLEET_AGENT_ plus its name, such as "
    "PARETOFLEET_AGENT_RAM_CAP; labels are one JSON object in PARETOFLEET_AGENT_LABELS. Options of "
    "the command line alone: --once, --progress-json, --verbose, --json."
)
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder of everything the agent must remember.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


class ending:  # noqa: N801 - reads as a statement
    """Turns a named error into its message and exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, AgentError):
            sys.stderr.write(f"device_agent: {exc}\n")
            raise typer.Exit(exc.exit_code) from exc
        if isinstance(exc, KeyboardInterrupt):
            raise typer.Exit(StoppedError.exit_code) from exc


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
