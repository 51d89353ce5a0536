"""The exit codes on the page are those of the code."""

import importlib
import pkgutil
from collections.abc import Iterator

import typer
from typer.main import get_command

import device_agent
from contract import finetune
from device_agent.cli import app
from device_agent.errors import AgentError
from tests.docs.pages import REFERENCE, assert_holds, table

PAGE = REFERENCE / "exit-codes.md"
MEANINGS = {
    0: "done",
    1: "a bug, or a failure without a name of its own",
    2: "the command line, a setting or an address is wrong",
    3: "the images cannot be trained on",
    4: "the server is away, busy, refuses, or answers what makes no sense",
    5: "the server does not let this box in",
    6: "the assignment was rejected, put off or overtaken",
    7: "the disk is full",
    8: "the state folder cannot be used",
    9: "no prediction could be made",
    10: "`doctor` found something that does not work",
    11: "the service could not be installed, removed or looked at, or does not run",
    130: "stopped by a signal; the next start goes on",
}


def named_errors():
    """Return every named error of the program, wherever it is defined."""
    for module in pkgutil.walk_packages(device_agent.__path__, "device_agent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {kind for kind in below(AgentError) if kind.__module__.startswith("device_agent.")}


def below(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def agent_table():
    names: dict[int, list[str]] = {}
    for kind in sorted(named_errors(), key=lambda kind: kind.name):
        if "name" in vars(kind):
            names.setdefault(kind.exit_code, []).append(f"`{kind.name}`")
    rows = ((code, text, ", ".join(names.get(code, []))) for code, text in MEANINGS.items())
    return table(("code", "meaning", "events in the log"), rows)


def finetune_table():
    codes = {k: v for k, v in vars(finetune).items() if k.startswith("EXIT_")}
    meanings = {
        "EXIT_DONE": ("done", "the model is in the output folder"),
        "EXIT_BAD_INPUT": ("bad_input", "the job, the images or the artifacts cannot be used"),
        "EXIT_OVER_CAP": ("over_cap", "the memory cap was reached"),
        "EXIT_DIVERGED": ("diverged", "a loss or a logit is no longer finite"),
        "EXIT_DISK_FULL": ("disk_full", "there is no room left to write"),
        "EXIT_STOPPED": ("", "SIGTERM: the same job goes on from its checkpoint"),
    }
    assert codes.keys() == meanings.keys()
    rows = (
        (codes[key], status and f"`{status}`", text) for key, (status, text) in meanings.items()
    )
    return table(("code", "status in the result", "meaning"), rows)


def test_the_agents_codes_are_on_the_page():
    assert {kind.exit_code for kind in named_errors()} <= MEANINGS.keys()
    assert_holds(PAGE, agent_table())


def test_the_fine_tune_programs_codes_are_on_the_page():
    assert_holds(PAGE, finetune_table())


def test_the_agents_help_names_every_code():
    command = get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    epilog = command.epilog or ""
    for code in MEANINGS:
        assert f"{code} " in epilog
