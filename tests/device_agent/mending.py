"""Whether a mending command can be given as it stands: ours is parsed by the real command line."""

import shlex

from typer.main import get_command

from device_agent.cli import app

OTHERS = {"chmod", "curl", "mv", "pip", "python3.11", "sudo", "systemctl", "unset"}


def assert_can_be_given(mend: str) -> None:
    program, *words = shlex.split(mend)
    if program != "device_agent":
        assert program in OTHERS, mend
        return
    command = get_command(app)
    while getattr(command, "commands", None):
        command = command.commands[words.pop(0)]
    command.make_context("device_agent", words)
