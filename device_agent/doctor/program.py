"""Checks of the program itself: Python, packages, settings, secrets."""

import difflib
import re
import shlex
import stat
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from device_agent.config import CONFIG_VARIABLE, PREFIX
from device_agent.doctor.finding import Finding, Patient, fail, ok, skip, warn
from device_agent.errors import AgentError
from device_agent.settings import AgentSettings

_LEAST_PYTHON = (3, 11)
_REINSTALL = "pip install --upgrade 'paretofleet[agent]'"
_NEEDED = (
    "httpx2", "numpy", "onnxruntime", "pillow", "platformdirs", "psutil", "pydantic",
    "pydantic-settings", "rich", "structlog", "typer",
)  # fmt: skip


def check_python(patient: Patient) -> Finding:
    """Check the version of Python."""
    _ = patient
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < _LEAST_PYTHON:
        return fail("python", f"Python {version} is too old", "python3.11 -m venv .venv")
    return ok("python", f"Python {version}")


def check_packages(patient: Patient) -> Finding:
    """Check that every package that the agent needs is installed."""
    _ = patient
    missing = missing_packages(_NEEDED)
    if missing:
        return fail("packages", f"not installed: {', '.join(missing)}", _REINSTALL)
    return ok("packages", f"paretofleet {_version('paretofleet') or 'from a checkout'}")


def missing_packages(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _version(name) is None]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_runtime(patient: Patient) -> Finding:
    """Check that onnxruntime loads and computes, in a child."""
    try:
        answer = patient.probe()
    except AgentError as exc:
        return fail("onnxruntime", str(exc), _REINSTALL)
    versions = answer.get("versions", {})
    floor_mb = round(answer["runtime_floor_bytes"] / 1e6)
    return ok(
        "onnxruntime",
        f"{versions.get('onnxruntime')} loads; it takes {floor_mb} MB before any work",
    )


def check_settings(patient: Patient) -> Finding:
    """Check that the settings can be read, and that no variable is misspelt."""
    if patient.problems:
        named = f" --config {shlex.quote(str(patient.file))}" if patient.file else ""
        mend = f"device_agent config{named}"
        return fail("settings", "; ".join(patient.problems), mend)
    strangers = strange_variables(patient.environ)
    if strangers:
        said = "; ".join(_guess(name) for name in strangers)
        return warn("settings", said, f"unset {' '.join(strangers)}")
    return ok("settings", f"read from {patient.file}" if patient.file else "no configuration file")


def strange_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that look like settings and are none."""
    known = {f"{PREFIX}{name.upper()}" for name in AgentSettings.model_fields} | {CONFIG_VARIABLE}
    plain = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
    return sorted(
        name
        for name in environ
        if name.upper().startswith(PREFIX) and name.upper() not in known and plain.fullmatch(name)
    )


def _guess(name: str) -> str:
    wanted = name.upper().removeprefix(PREFIX).lower()
    near = difflib.get_close_matches(wanted, AgentSettings.model_fields, n=1)
    hint = f"; do you mean {PREFIX}{near[0].upper()}?" if near else ""
    return f"{name} is no setting{hint}"


def check_secrets(patient: Patient) -> Finding:
    """Check that no other user of this machine can read the enrolment token."""
    holder = patient.file if patient.token_in_file else patient.token_file
    if holder is None:
        return skip("secrets", "no file holds an enrolment token")
    if others_may_read(holder):
        mend = f"chmod 600 {shlex.quote(str(holder))}"
        return warn("secrets", f"{holder} holds the enrolment token and others may read it", mend)
    return ok("secrets", f"{holder} is the owner's alone")


def others_may_read(path: Path) -> bool:
    """Return whether a file's mode lets its group or others read it; False for no file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
