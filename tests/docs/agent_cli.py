"""Makes docs/reference/agent-cli.md from the command line: ``python -m tests.docs.agent_cli``."""

import inspect

from typer.main import get_command

from device_agent.cli import app
from device_agent.config import flag_of
from device_agent.settings import AgentSettings
from tests.docs.pages import REFERENCE, table

PAGE = REFERENCE / "agent-cli.md"
HEAD = """\
# The agent's command line

`device_agent` alone explains itself and ends with 0. Every command takes `--help`, `--json` and
`--config`; under `--json` a named failure is an object with `error`, `reason` and `exit_code` on
standard output, besides its line on standard error. [Exit codes](exit-codes.md) ·
[settings](settings.md), which say what can stand in a file or in the environment instead.

`SETTINGS` in a usage line stands for any of the options of [settings](settings.md); where a command
takes only some of them, its table lists them.

This page is made from the program by `python -m tests.docs.agent_cli`.
"""


def leaves(command, words=()):
    """Yield every command that does something, with the words that call it."""
    inner = getattr(command, "commands", {})
    for name, child in inner.items():
        yield from leaves(child, (*words, name))
    if not inner:
        yield words, command


def all_commands():
    return dict(leaves(get_command(app)))


def flags_of(parameter):
    return [*parameter.opts, *parameter.secondary_opts]


def section(words, command):
    """Return what the page says of one command."""
    text = inspect.cleandoc(command.help or "")
    said, _, example = text.partition("Example: ")
    settings = {flag_of(name) for name in AgentSettings.model_fields}
    takes_all = settings <= {flag for p in command.params for flag in flags_of(p)}
    rows, arguments = [], []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            arguments.append(parameter.name.upper())
            rows.append((f"`{parameter.name.upper()}`", parameter.help or ""))
        elif parameter.name != "help" and not (takes_all and parameter.opts[0] in settings):
            names = ", ".join(f"`{flag}`" for flag in flags_of(parameter))
            rows.append((names, parameter.help or ""))
    usage = ["device_agent", *words, *arguments, *(["SETTINGS"] if takes_all else []), "[OPTIONS]"]
    parts = [f"## {' '.join(words)}", said.strip(), f"Usage: `{' '.join(usage)}`"]
    parts.append(table(("option", "meaning"), rows).rstrip())
    if example:
        parts.append(f"```sh\n{' '.join(example.split())}\n```")
    return "\n\n".join(parts) + "\n"


def page():
    """Return the whole page."""
    parts = [HEAD, *(section(words, command) for words, command in all_commands().items())]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
