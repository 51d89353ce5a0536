"""``device_agent predict``: one image, one answer."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from device_agent.assemble import make_predictor
from device_agent.commands.options import JsonOption, StateOption, ending, load_settings
from device_agent.disk.paths import StatePaths
from device_agent.display import print_prediction
from device_agent.errors import BadImageError
from device_agent.log import configure_logging
from device_agent.loop.state import StateStore


def predict(
    image: Annotated[Path, typer.Argument(help="The image to look at.")],
    *,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge one image by the active model, or by the cloud where the policy allows it.

    Example: device_agent predict image.png
    """
    configure_logging()
    settings = load_settings(state=state)
    with ending():
        store = StateStore(StatePaths(settings.state))
        remembered = store.load().desired
        predictor = make_predictor(store, lambda: remembered, settings)
        with contextlib.closing(predictor):
            prediction = predictor.predict(read_image(image))
        if as_json:
            sys.stdout.write(prediction.model_dump_json() + "\n")
        else:
            print_prediction(prediction)


def read_image(path: Path) -> bytes:
    """Return the bytes of an image file; raises BadImageError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadImageError(f"{path} cannot be read: {exc.strerror}") from exc
