"""``device_agent config``: the settings in force, and where each came from."""

import json
from typing import Any

from device_agent.commands.options import (
    JsonOption,
    load_effective,
    print_json,
    setting_options,
)
from device_agent.config import Effective, default_files, is_secret
from device_agent.display import print_columns

_MASK = "***"


@setting_options()
def config(
    *,
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Show every setting in force and where it came from: flag, environment, file or default.

    Secrets are masked. The options are those of run, so that a call of it can be tried out.

    Example: device_agent config --config agent.toml
    """
    facts = facts_of(load_effective(**settings))
    if as_json:
        return print_json(facts)
    print_columns(
        ("setting", "value", "from"),
        [(name, _plain(said["value"]), said["from"]) for name, said in facts["settings"].items()],
    )
    looked = " or ".join(str(path) for path in default_files())
    return print_columns(("file", str(facts["file"] or f"none; looked for {looked}")), [])


def facts_of(effective: Effective) -> dict[str, Any]:
    """Return the settings as they may be shown."""
    values = effective.settings.model_dump(mode="json")
    shown = {
        name: {"value": _shown(name, value), "from": effective.origins[name]}
        for name, value in values.items()
    }
    return {"file": None if effective.file is None else str(effective.file), "settings": shown}


def _plain(value: object) -> object:
    return (
        "none"
        if value in (None, "", {})
        else json.dumps(value)
        if isinstance(value, dict)
        else value
    )


def _shown(name: str, value: object) -> object:
    return _MASK if is_secret(name) and value is not None else value
