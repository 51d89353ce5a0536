"""``device_agent once``: settle, report and exit; ``run --once`` under a name of its own."""

from typing import Any

from device_agent.commands.options import same_options
from device_agent.commands.run import run


@same_options(run, without="once")
def once(**given: Any) -> None:  # noqa: ANN401 - the options of run
    """Do all that is to be done now, report, and exit: for a first try, or under a scheduler.

    Example: device_agent once --server https://fleet.example --data images --enrol-token T
    """
    run(once=True, **given)
