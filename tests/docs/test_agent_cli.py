"""Every command of the agent: JSON, help, an example that works, its place on the page."""

import inspect
import shlex

import pytest
from typer.main import get_command

from device_agent.cli import COMMANDS, app
from tests.docs.agent_cli import PAGE, all_commands, flags_of, leaves, page, section
from tests.docs.pages import assert_holds, command_lines

COMMANDS_BY_NAME = all_commands()
each_command = pytest.mark.parametrize(
    ("words", "command"), COMMANDS_BY_NAME.items(), ids=[" ".join(w) for w in COMMANDS_BY_NAME]
)


@each_command
def test_every_command_prints_json_where_asked(words, command):
    assert "--json" in {flag for parameter in command.params for flag in flags_of(parameter)}, words


@each_command
def test_every_command_takes_a_configuration_file(words, command):
    assert "--config" in {flag for p in command.params for flag in flags_of(p)}, words


@each_command
def test_every_command_and_option_explains_itself(words, command):
    assert len(command.help or "") > 20, words
    for parameter in command.params:
        assert getattr(parameter, "help", ""), (words, parameter.name)


@each_command
def test_every_command_has_an_example_that_can_be_given(words, command):
    text = inspect.cleandoc(command.help or "")
    _, found, example = text.partition("Example: device_agent ")
    assert found, f"the help of {' '.join(words)} lacks 'Example: device_agent ...'"
    given = shlex.split(example)
    assert tuple(given[: len(words)]) == words
    command.make_context(" ".join(words), given[len(words) :])


@each_command
def test_the_page_holds_every_command(words, command):
    assert_holds(PAGE, section(words, command))


def test_the_page_is_that_of_the_program():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.docs.agent_cli"


def test_the_page_shows_every_command_once():
    shown = [line.split()[1] for line in command_lines(PAGE) if line.startswith("device_agent ")]
    assert sorted(set(shown)) == sorted({words[0] for words in COMMANDS_BY_NAME})


def test_nothing_is_left_out_of_the_walk():
    names = {command.__name__ for command in COMMANDS}
    assert {words[0] for words, _ in leaves(get_command(app))} == names | {"service"}
