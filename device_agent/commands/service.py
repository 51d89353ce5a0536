"""``device_agent service``: the agent under systemd."""

import sys
from typing import Annotated, Any

import typer

from device_agent.commands.options import (
    EPILOG,
    JsonOption,
    ending,
    load_effective,
    print_json,
    setting_options,
    with_config,
)
from device_agent.display import print_status
from device_agent.errors import ServiceError
from device_agent.service.service import Machine, NewFile, install, look, plan_files, uninstall
from device_agent.service.unit import DEFAULT_USER, UNIT_NAME

service = typer.Typer(
    help="Run the agent under systemd: sandboxed, watched, as a user of its own.",
    epilog=EPILOG,
    no_args_is_help=True,
)
_AFTER = """\
installed; look at it with
  device_agent service status
  journalctl --unit paretofleet-agent --follow
"""


@setting_options()
def install_service(
    *,
    user: Annotated[
        str, typer.Option("--user", help="Whom it runs as, never root; made where absent.")
    ] = DEFAULT_USER,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be written; change nothing.")
    ] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Enable it, but start it with the next boot.")
    ] = False,
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Install the agent as a service that starts with the machine.

    The settings given here go into /etc/paretofleet/agent.toml where that does not exist, the
    enrolment token into a file that only root reads; systemd hands it to the agent. The images must
    be readable to the service's user.

    Example: device_agent service install --server https://fleet.example --data images
    --ram-cap 700MB --enrol-token enrol.token --dry-run
    """
    effective = load_effective(**settings)
    machine = Machine()
    with ending():
        files = plan_files(effective, user, machine)
        if not dry_run:
            install(files, user, machine, start=not no_start)
        if as_json:
            print_json({"installed": not dry_run, "files": {str(f.path): _shown(f) for f in files}})
        elif dry_run:
            sys.stdout.write("\n".join(f"# {f.path}\n{_shown(f)}" for f in files))
        else:
            sys.stdout.write(_AFTER)


def _shown(file: NewFile) -> str:
    return "***\n" if file.secret else file.text


def uninstall_service(*, as_json: JsonOption = False) -> None:
    """Stop the service and remove it; settings, identity, models and reports are kept.

    Example: device_agent service uninstall
    """
    with ending():
        removed = uninstall(Machine())
        if as_json:
            return print_json({"removed": removed})
        sys.stdout.write(f"removed {', '.join(removed) or 'nothing: it was not installed'}\n")
    return None


def service_status(*, as_json: JsonOption = False) -> None:
    """Say whether the service is installed and runs; ends with 11 where it does not.

    Example: device_agent service status
    """
    with ending():
        facts = look(Machine())
        if as_json:
            print_json(facts)
        else:
            print_status(facts)
    if facts.get("ActiveState") != "active":
        sys.stderr.write(f"device_agent: {_not_active(facts)}\n")
        raise typer.Exit(ServiceError.exit_code)


def _not_active(facts: dict[str, str]) -> str:
    if facts.get("LoadState") == "not-found":
        return "the service is not installed: device_agent service install"
    return f"the service does not run: journalctl --unit {UNIT_NAME} says why"


for name, function in (
    ("install", install_service),
    ("uninstall", uninstall_service),
    ("status", service_status),
):
    service.command(name, epilog=EPILOG)(with_config(function))
