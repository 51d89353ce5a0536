"""The settings page names every setting of both programs, as the code has it."""

import json
import os
import re
import shlex
import tomllib
from pathlib import Path
from unittest import mock

import pytest
from pydantic_settings import BaseSettings
from typer.main import get_command

from app.settings import Settings
from device_agent.cli import app as agent_cli
from device_agent.config import default_files, flag_of, gather
from device_agent.settings import AgentSettings
from tests.docs.pages import REFERENCE, assert_holds, table

PAGE = REFERENCE / "settings.md"
SERVER_HEADER = ("setting", "environment variable", "default", "meaning")
AGENT_HEADER = ("setting, key of the file", "environment variable", "option", "default", "meaning")
COMPUTED = {
    "state": "the user's state folder for `paretofleet-agent`",
    "name": "the host's name",
    "labels": "`{}`",
}
SETTINGS = (Settings, AgentSettings)


def settings_table(kind: type[BaseSettings]) -> str:
    prefix = kind.model_config["env_prefix"]
    agent = kind is AgentSettings
    rows = (
        (
            f"`{name}`",
            f"`{prefix}{name.upper()}`",
            *((f"`{flag_of(name)}`",) if agent else ()),
            COMPUTED[name] if field.default_factory else shown(field.default),
            field.description,
        )
        for name, field in kind.model_fields.items()
    )
    return table(AGENT_HEADER if agent else SERVER_HEADER, rows)


def shown(default: object) -> str:
    return "none" if default in {None, ""} else f"`{str(default).lower()}`"


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_is_on_the_page_with_its_default_and_meaning(kind):
    assert_holds(PAGE, settings_table(kind))


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_can_be_set_as_the_page_says(kind, monkeypatch):
    prefix = kind.model_config["env_prefix"]

    for name, value in values_of(kind).items():
        monkeypatch.setenv(f"{prefix}{name.upper()}", value)

    assert kind().model_fields_set == set(kind.model_fields)


def values_of(kind):
    """Return a value for every setting, as text."""
    values = {"database_url": "sqlite://", "server": "http://fleet", "labels": '{"line": "3"}'}
    return {
        name: values.get(name, least(field) if field.default in {None, ""} else str(field.default))
        for name, field in kind.model_fields.items()
    }


def least(field):
    """Return 1, or the least that a setting takes, as text."""
    bounds = [bound for rule in field.metadata if (bound := getattr(rule, "ge", None)) is not None]
    return str(max([1, *bounds]))


@pytest.fixture
def no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def rows():
    """Return the agent's rows of the page: key, variable, option."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [re.findall(r"`([^`]*)`", line) for line in lines if "`PARETOFLEET_AGENT_" in line]
    return [line[:3] for line in cells if len(line) >= 3 and line[2].startswith("--")]


def test_key_variable_and_option_of_every_row_set_the_same_setting(tmp_path):
    """The page is taken by its word: one call by each of the three ways, with equal effect."""
    values = values_of(AgentSettings)
    assert [key for key, _, _ in rows()] == list(AgentSettings.model_fields)
    run = get_command(agent_cli).commands["run"]
    for key, variable, option in rows():
        text = "line=3" if key == "labels" else values[key]
        given = run.make_context("run", [option, text]).params[key]
        flags = {key: {"line": "3"} if key == "labels" else given}
        file = tmp_path / "agent.toml"
        file.write_text(f"{key} = {written(key, text)}\n", encoding="utf-8")
        with mock.patch.dict(os.environ, {variable: values[key]}):
            by_variable = gather({}, None)
        by_file, by_option = gather({}, file), gather(flags, None)

        kinds = [effective.origins[key] for effective in (by_file, by_variable, by_option)]
        assert kinds == ["file", "environment", "flag"]
        shown_values = {
            str(getattr(effective.settings, key)).removeprefix(f"{tmp_path}/")
            for effective in (by_file, by_variable, by_option)
        }
        assert len(shown_values) == 1, (key, shown_values)


def written(key, text):
    return '{line = "3"}' if key == "labels" else json.dumps(text)


def test_the_example_of_a_file_is_valid(tmp_path):
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    file = tmp_path / "agent.toml"
    file.write_text(example[1], encoding="utf-8")

    assert set(gather({}, file).origins.values()) == {"file", "default"}
    assert tomllib.loads(example[1])["labels"]


@pytest.mark.usefixtures("no_file")
def test_the_page_says_where_a_file_is_looked_for(tmp_path):
    system, user = default_files()
    text = PAGE.read_text(encoding="utf-8")

    assert f"`{system}`" in text
    assert user == tmp_path / Path(shlex.quote("paretofleet-agent")) / "agent.toml"
    assert "`paretofleet-agent/agent.toml`" in text
