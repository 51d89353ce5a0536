"""``device_agent enrol``: introduce the box to the server once, and stop there."""

import sys
from typing import Any

from device_agent.assemble import open_agent
from device_agent.commands.options import (
    JsonOption,
    ending,
    load_settings,
    print_json,
    require_server,
    setting_options,
)
from device_agent.log import configure_logging
from device_agent.server.enrol import enrol_once

_NEXT = """\
Next:
  device_agent check            whether the images will do
  device_agent once             train, report and stop: a first try
  device_agent service install  start with the machine, under a watchdog
"""


@setting_options(
    "server", "enrol_token", "labels", "name", "state", "data", "ram_cap", "serve_port", "ca_file"
)
def enrol(
    *,
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Register this box with the server by an enrolment token, and keep its identity.

    Doing it again changes nothing while the server accepts the box. A box that the server no longer
    accepts is registered anew by a token that it has not used before. The images and the cap named
    here only go into what the box says of itself.

    Example: device_agent enrol --server https://fleet.example --enrol-token enrol.token
    --name line3-box7 --label line=pcb-3
    """
    configure_logging()
    known = load_settings(**settings)
    require_server(known)
    with ending(), open_agent(known) as agent:
        identity, new = enrol_once(agent.box)
        facts = {"device_id": identity.device_id, "server": identity.server, "new": new}
        facts["state_dir"] = str(agent.box.paths.root)
        if as_json:
            print_json(facts)
            return
        how = "enrolled" if new else "already enrolled"
        sys.stdout.write(f"{how} at {identity.server} as {identity.device_id}\n{_NEXT}")
