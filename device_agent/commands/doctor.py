"""``device_agent doctor``: what is wrong, and the command that mends it."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from device_agent.commands.options import (
    JsonOption,
    ending,
    given_config,
    given_flags,
    print_json,
    setting_options,
)
from device_agent.config import PREFIX, find_file, gather, read_file, salvage
from device_agent.display import progress
from device_agent.doctor.examine import CHECKS, examine, lines_of
from device_agent.doctor.finding import Finding, Patient
from device_agent.errors import BadSettingError, TroubleFoundError
from device_agent.log import configure_logging


@setting_options()
def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the server.")] = False,
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Look the box over: what works, what does not, and the command that mends it.

    It changes nothing and shows no secret. Ends with 0 when nothing is wrong (doubts are allowed),
    with 10 otherwise. The options are those of run: examine what you would start.

    Example: device_agent doctor --offline
    """
    configure_logging()
    with ending():
        patient = admit(given_flags(settings), given_config(), offline=offline)
        with progress(len(CHECKS), "checks") as advance:
            findings = examine(patient, advance)
    _tell(findings, as_json=as_json)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(TroubleFoundError.exit_code)


def _tell(findings: list[Finding], *, as_json: bool) -> None:
    if not as_json:
        sys.stdout.write("\n".join(lines_of(findings)) + "\n")
        return
    healthy = not any(finding.level == "fail" for finding in findings)
    print_json({"healthy": healthy, "findings": [dataclasses.asdict(f) for f in findings]})


def admit(flags: Mapping[str, Any], config: Path | None, *, offline: bool) -> Patient:
    """Return the box to examine; settings that are wrong are left out and told as problems."""
    file, problems = None, list[str]()
    try:
        file = find_file(config)
        settings = gather(flags, file).settings
    except BadSettingError as exc:
        problems = exc.problems
        settings = salvage(flags, file)
    in_file, named = _token_place(flags, file)
    return Patient(
        settings=settings, problems=tuple(problems), file=file, token_in_file=in_file,
        token_file=named, offline=offline,
    )  # fmt: skip


def _token_place(flags: Mapping[str, Any], file: Path | None) -> tuple[bool, Path | None]:
    """Return whether the file of settings holds the token itself, and the file that it names."""
    held: object = None
    with contextlib.suppress(BadSettingError):
        held = read_file(file).get("enrol_token") if file else None
    given = flags.get("enrol_token") or os.environ.get(f"{PREFIX}ENROL_TOKEN") or held
    named = _file(given)
    return (isinstance(held, str) and bool(held) and _file(held) is None), named


def _file(value: object) -> Path | None:
    with contextlib.suppress(OSError, ValueError):
        if isinstance(value, str) and Path(value).is_file():
            return Path(value)
    return None
