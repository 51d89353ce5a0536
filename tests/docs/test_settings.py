"""The settings page names every setting of both programs, as the code has it."""

from collections.abc import Mapping

import pytest
from pydantic_settings import BaseSettings

from app.settings import Settings
from device_agent.settings import AgentSettings
from tests.docs.pages import REFERENCE, assert_holds, table

PAGE = REFERENCE / "settings.md"
HEADER = ("setting", "environment variable", "default", "meaning")
COMPUTED = {
    "state": "the user's state folder for `paretofleet-agent`",
    "name": "the host's name",
    "labels": "`{}`",
}
SETTINGS = (Settings, AgentSettings)


def settings_table(kind: type[BaseSettings], computed: Mapping[str, str] = COMPUTED) -> str:
    prefix = kind.model_config["env_prefix"]
    return table(
        HEADER,
        (
            (
                f"`{name}`",
                f"`{prefix}{name.upper()}`",
                computed[name] if field.default_factory else shown(field.default),
                field.description,
            )
            for name, field in kind.model_fields.items()
        ),
    )


def shown(default: object) -> str:
    return "none" if default in {None, ""} else f"`{str(default).lower()}`"


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_is_on_the_page_with_its_default_and_meaning(kind):
    assert_holds(PAGE, settings_table(kind))


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_can_be_set_as_the_page_says(kind, monkeypatch):
    prefix = kind.model_config["env_prefix"]
    values = {"database_url": "sqlite://", "server": "http://fleet", "labels": '{"line": "3"}'}

    for name, field in kind.model_fields.items():
        value = values.get(name, "1" if field.default in {None, ""} else str(field.default))
        monkeypatch.setenv(f"{prefix}{name.upper()}", value)

    assert kind().model_fields_set == set(kind.model_fields)
