"""Where settings come from: a TOML file, below the environment, below the command line.

The file is named by ``--config`` or ``PARETOFLEET_AGENT_CONFIG``; else it is the first that exists
of ``/etc/paretofleet/agent.toml`` and ``agent.toml`` in the user's own configuration folder. Its
keys are the names of the settings. A relative path in it begins at the file's folder. Labels of the
three are put together, key by key; of everything else the strongest wins. Weakest of all is the
enrolment token that systemd hands over as a credential.
"""

import contextlib
import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from platformdirs import user_config_path, user_state_path
from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from device_agent.errors import BadSettingError
from device_agent.settings import AgentSettings

Origin = Literal["flag", "environment", "file", "credential", "default"]
SYSTEM_FILE = Path("/etc/paretofleet/agent.toml")
FILE_NAME = "agent.toml"
PREFIX = "PARETOFLEET_AGENT_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
CREDENTIAL = "enrol-token"
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Effective:
    """The settings, which layer each came from, and the file that was read."""

    settings: AgentSettings
    origins: dict[str, Origin]
    file: Path | None


def default_files() -> tuple[Path, ...]:
    """Return where a configuration is looked for when none is named, first come first served."""
    return (SYSTEM_FILE, user_config_path("paretofleet-agent") / FILE_NAME)


def find_file(given: Path | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the file to read, or None; one that was named must exist: BadSettingError."""
    variable = (os.environ if environ is None else environ).get(CONFIG_VARIABLE)
    named = given or (Path(variable) if variable else None)
    if named is None:
        return next((path for path in default_files() if path.is_file()), None)
    if not named.is_file():
        raise BadSettingError([f"{named} is no file; --config names a file of settings"])
    return named


def read_file(path: Path, *, strict: bool = True) -> dict[str, Any]:
    """Return the settings that a file holds; raises BadSettingError naming file and key.

    Not ``strict``: keys that are no settings are passed over.
    """
    try:
        with path.open("rb") as stream:
            values = tomllib.loads(stream.read(_MOST_BYTES).decode("utf-8"))
    except OSError as exc:
        raise BadSettingError([f"{path} cannot be read: {exc.strerror}"]) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSettingError([f"{path} is no TOML: {exc}"]) from exc
    strangers = [key for key in values if key not in AgentSettings.model_fields]
    if strangers and strict:
        raise BadSettingError([_stranger(path, key) for key in strangers])
    known = {key: value for key, value in values.items() if key not in strangers}
    return {key: _placed(key, value, path.parent) for key, value in known.items()}


def _stranger(path: Path, key: str) -> str:
    near = difflib.get_close_matches(key, AgentSettings.model_fields, n=1)
    hint = f"; do you mean {near[0]}?" if near else ""
    return f"{path}: {key} is no setting{hint}"


def _placed(key: str, value: object, folder: Path) -> object:
    """Let a relative path begin at the file's folder; a token that names no file is a token."""
    if not isinstance(value, str):
        return value
    if is_path(key):
        return str(folder / value)
    if not is_secret(key):
        return value
    short = len(value) < 1024 and "\n" not in value and "\0" not in value  # noqa: PLR2004 - a path
    return str(folder / value) if short and value and (folder / value).is_file() else value


def is_path(name: str) -> bool:
    """Return whether a setting is a path."""
    return Path in _kinds(name)


def is_secret(name: str) -> bool:
    """Return whether a setting must never be shown."""
    return SecretStr in _kinds(name)


def _kinds(name: str) -> tuple[Any, ...]:
    annotation = AgentSettings.model_fields[name].annotation
    return get_args(annotation) or (annotation,)


def gather(flags: Mapping[str, Any], file: Path | None) -> Effective:
    """Put file, environment and flags together; raises BadSettingError with every problem."""
    layers: list[tuple[Origin, Mapping[str, Any]]] = [
        ("credential", _credential()),
        ("file", {} if file is None else read_file(file)),
        ("environment", _environment()),
        ("flag", flags),
    ]
    origins: dict[str, Origin] = dict.fromkeys(AgentSettings.model_fields, "default")
    for origin, values in layers:
        origins.update(dict.fromkeys(values, origin))
    try:
        settings = AgentSettings(**_merged([values for _, values in layers]))
    except ValidationError as exc:
        raise BadSettingError(_problems(exc, origins, file)) from exc
    return Effective(settings, origins, file)


def _merged(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Let the later layer win, but put labels together."""
    merged: dict[str, Any] = {}
    for values in layers:
        before, given = merged.get("labels"), values.get("labels")
        merged.update(values)
        if isinstance(before, dict) and isinstance(given, dict):
            merged["labels"] = before | given
    return merged


def salvage(flags: Mapping[str, Any], file: Path | None) -> AgentSettings:
    """Return what is usable of settings that ``gather`` refuses; what is wrong has its default."""
    layers = [flags]
    for read in (_environment, lambda: read_file(file, strict=False) if file else {}, _credential):
        with contextlib.suppress(BadSettingError):
            layers.insert(0, read())
    merged = _merged(layers)
    fields = AgentSettings.model_fields
    for _ in fields:
        try:
            return AgentSettings(**merged)
        except ValidationError as exc:
            wrong = {str(error["loc"][0]) for error in exc.errors() if error["loc"]}
            merged |= {name: fields[name].get_default(call_default_factory=True) for name in wrong}
        except SettingsError:
            break
    return AgentSettings.model_construct(
        state=Path(merged.get("state") or user_state_path("paretofleet-agent"))
    )


def _credential() -> dict[str, Any]:
    """Return the enrolment token that systemd hands over, where it does: systemd.exec(5)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / CREDENTIAL if folder else None
    return {"enrol_token": str(path)} if path is not None and path.is_file() else {}


def _environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(AgentSettings)()
    except SettingsError as exc:
        name = f"{PREFIX}LABELS"
        message = f'{name} is no JSON object; write it like {{"line": "3"}}'
        raise BadSettingError([message]) from exc


def _problems(exc: ValidationError, origins: Mapping[str, Origin], file: Path | None) -> list[str]:
    found = []
    for error in exc.errors(include_input=False, include_url=False):
        name = str(error["loc"][0]) if error["loc"] else "option"
        found.append(f"{_spelled(name, origins.get(name, 'flag'), file)}: {error['msg']}")
    return found


def _spelled(name: str, origin: Origin, file: Path | None) -> str:
    """Return a setting's name as it was written where it was given."""
    if origin == "file":
        return f"{file}: {name}"
    return f"{PREFIX}{name.upper()}" if origin == "environment" else flag_of(name)


def flag_of(name: str) -> str:
    """Return the option of the command line that sets a setting."""
    return "--label" if name == "labels" else "--" + name.replace("_", "-")
