"""``device_agent factory``: the model that a box is delivered with, before it ever trained."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from device_agent.commands.options import (
    JsonOption,
    StateOption,
    ending,
    load_settings,
    print_json,
)
from device_agent.disk.paths import StatePaths, lock_state
from device_agent.log import configure_logging
from device_agent.loop.box import try_model_in_child
from device_agent.loop.factory import install_factory


def factory(
    release_folder: Annotated[
        Path, typer.Argument(help="A release: release.json and files/<sha256>.")
    ],
    variant: Annotated[str, typer.Argument(help="The network of it that this box begins with.")],
    *,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Install a network of a release as the factory model: it serves until an update succeeds.

    Example: device_agent factory releases/starter rx-m-128
    """
    configure_logging()
    settings = load_settings(state=state)
    with ending():
        paths = StatePaths(settings.state)
        paths.make()
        lock = lock_state(paths)
        try:
            manifest = install_factory(
                release_folder, variant, paths, try_model_in_child, datetime.now(UTC)
            )
        finally:
            os.close(lock)
        if as_json:
            print_json({"model_id": manifest.model_id, "balanced_accuracy": None, "n_test": 0})
        else:
            sys.stdout.write(
                f"{manifest.model_id} serves until an update succeeds; "
                "its accuracy on this box's images is not known\n"
            )
