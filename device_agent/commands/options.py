"""What the commands share: options, settings, and how a named error ends the program."""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from device_agent.config import Effective, find_file, flag_of, gather
from device_agent.errors import AgentError, BadSettingError, StoppedError
from device_agent.settings import AgentSettings

EPILOG = (
    "Exit codes: 0 done; 1 a bug; 2 usage; 3 images unusable; 4 server away or talking nonsense; "
    "5 not let in; 6 assignment rejected or put off; 7 disk full; 8 state directory unusable; "
    "9 no prediction; 10 doctor found trouble; 11 the service could not be managed; 130 stopped by "
    "a signal. Sizes are decimal: 1 MB = 1,000,000 bytes. A setting can be an option, an "
    "environment variable (PARETOFLEET_AGENT_ plus its name, such as PARETOFLEET_AGENT_RAM_CAP; "
    "labels are one JSON object in PARETOFLEET_AGENT_LABELS) or a key of the configuration file, "
    "in that order. Options of the command line alone: --once, --progress-json, --verbose, --json, "
    "--config (or PARETOFLEET_AGENT_CONFIG)."
)
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Folder of everything the agent must remember.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="File of settings (TOML); else the first default that exists."),
]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Call:
    """What every command was told besides its own options."""

    config: Path | None = None
    as_json: bool = False


_NO_CALL = Call()
_CALL: ContextVar[Call] = ContextVar("call", default=_NO_CALL)


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--config``, and its named errors as JSON under ``--json``."""

    @functools.wraps(command)
    def called(*, config: Path | None = None, **given: Any) -> None:  # noqa: ANN401 - any option
        token = _CALL.set(Call(config, bool(given.get("as_json"))))
        try:
            command(**given)
        finally:
            _CALL.reset(token)

    called.__doc__ = _paragraphs(command.__doc__ or "")
    return _with_parameters(called, command, {"config": ConfigOption}, drop=())


def _paragraphs(text: str) -> str:
    """Return a docstring with one line for each paragraph, as the help wraps them anew."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def setting_options(
    *names: str, drop: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each setting named (all settings, where none is named).

    They reach it as keyword arguments, as text or None: the settings object parses them, so that
    an option, an environment variable and a line of a file are read by one rule.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = [n for n in AgentSettings.model_fields if (n in names or not names)]
        options = {name: _option(name) for name in chosen if name not in drop}
        return _with_parameters(command, command, options, drop=("settings",))

    return decorate


def _option(name: str) -> Any:  # noqa: ANN401 - a type, made from a setting
    text = AgentSettings.model_fields[name].description or ""
    said = f"{text[:1].upper()}{text[1:]}."
    if name == "labels":
        return Annotated[list[str] | None, typer.Option("--label", help=f"{said} k=v; repeatable.")]
    return Annotated[str | None, typer.Option(flag_of(name), help=said, metavar=_metavar(name))]


def _metavar(name: str) -> str:
    shown = str(AgentSettings.model_fields[name].annotation)
    for word, kind in (
        ("Path", "PATH"),
        ("int", "N"),
        ("float", "SECONDS"),
        ("bool", "TRUE|FALSE"),
    ):
        if word in shown:
            return kind
    return "TEXT"


def _with_parameters(
    function: Callable[..., None],
    source: Callable[..., None],
    options: dict[str, Any],
    *,
    drop: Collection[str],
) -> Callable[..., None]:
    """Let ``function`` show the parameters of ``source`` and one more for each option."""
    signature = inspect.signature(source)
    own = [
        parameter
        for name, parameter in signature.parameters.items()
        if name not in drop and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    more = [
        inspect.Parameter(name, _KEYWORD, default=None, annotation=kind)
        for name, kind in options.items()
    ]
    shown = signature.replace(parameters=[*own, *more])
    function.__signature__ = shown  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in shown.parameters.values()}
    return function


def same_options(
    source: Callable[..., None], *, without: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every option of another but one."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return _with_parameters(command, source, {}, drop=(without,))

    return decorate


def given_config() -> Path | None:
    """Return the file that --config names on this call."""
    return _CALL.get().config


def given_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the options that were given; labels are parsed (code 2)."""
    flags = {name: value for name, value in given.items() if value is not None}
    labels = flags.pop("labels", None)
    if labels:
        flags["labels"] = labels if isinstance(labels, dict) else parse_labels(labels)
    return flags


def load_effective(**given: Any) -> Effective:  # noqa: ANN401 - whatever options were given
    """Return the settings and where each came from; a bad one ends the program with code 2."""
    try:
        return gather(given_flags(given), find_file(given_config()))
    except BadSettingError as exc:
        raise _refusal(exc) from exc


def _refusal(exc: BadSettingError) -> typer.BadParameter:
    if _CALL.get().as_json:
        _print_failure(exc)
    return typer.BadParameter(str(exc))


def _print_failure(exc: AgentError) -> None:
    print_json({"error": exc.name, "reason": str(exc), "exit_code": exc.exit_code})


def load_settings(**given: Any) -> AgentSettings:  # noqa: ANN401 - whatever options were given
    """Return the settings; a bad one ends the program with code 2 and its reason."""
    return load_effective(**given).settings


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """Turn ``["line=3"]`` into a dictionary; a bad pair ends the program with code 2."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"--label {pair!r}: write it like line=3")
        labels[key] = value
    return labels


def require_server(settings: AgentSettings) -> None:
    """End the program with code 2 where no server is named."""
    if not settings.server:
        raise _refusal(BadSettingError(["name the server: --server https://fleet.example:8000"]))


class ending:  # noqa: N801 - reads as a statement
    """Turns a named error into its message and exit code; under ``--json`` into JSON besides."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, AgentError):
            sys.stderr.write(f"device_agent: {exc}\n")
            if _CALL.get().as_json:
                _print_failure(exc)
            raise typer.Exit(exc.exit_code) from exc
        if isinstance(exc, KeyboardInterrupt):
            raise typer.Exit(StoppedError.exit_code) from exc


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one line of JSON on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
