"""``device_agent status``: what the box is, from its state directory."""

from device_agent.commands.options import (
    JsonOption,
    StateOption,
    ending,
    load_settings,
    print_json,
)
from device_agent.disk.paths import StatePaths
from device_agent.display import print_status
from device_agent.loop.status import read_status


def status(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Say what the box is, what is active, why, and what waits to be sent.

    Example: device_agent status --json
    """
    settings = load_settings(state=state)
    with ending():
        facts = read_status(StatePaths(settings.state))
        if as_json:
            print_json(facts)
        else:
            print_status(facts)
