"""``device_agent inspect``: a picture of a whole board, with boxes around what looks wrong."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from device_agent.assemble import make_predictor
from device_agent.commands.options import (
    JsonOption,
    ending,
    load_settings,
    print_json,
    setting_options,
)
from device_agent.disk.files import named_disk_errors, write_atomic
from device_agent.disk.paths import StatePaths
from device_agent.display import progress
from device_agent.log import configure_logging
from device_agent.loop.state import StateStore
from device_agent.serving.board import Board, open_board, save_picture
from device_agent.serving.inspect_board import Inspection, Manner, free_here, inspect_board
from device_agent.serving.tiling import Merge
from device_agent.settings import AgentSettings


@setting_options("state", "tile_px", "ram_cap")
def inspect(
    board: Annotated[Path, typer.Argument(help="The picture of the board.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is written; else beside the picture.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.75, help="Share of a tile that its neighbour sees too.")
    ] = 0.5,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="From which chance of a defect on to box.")
    ] = 0.5,
    merge: Annotated[
        Merge, typer.Option(help="What a spot gets of its tiles' scores: max, or mean (tighter).")
    ] = "max",
    as_json: JsonOption = False,
    **settings: Any,  # noqa: ANN401 - one option for each setting
) -> None:
    """Judge a whole board tile by tile; draw heat and boxes on a copy, write JSON beside it.

    Writes NAME.inspect.png and NAME.inspect.json. The boxes are in pixels of the picture. No part
    of the picture leaves the box.

    Example: device_agent inspect board.png --tile-px 128 --out inspected
    """
    configure_logging()
    known = load_settings(**settings)
    manner = Manner(tile_px=known.tile_px, overlap=overlap, threshold=threshold, merge=merge)
    with ending():
        facts = _inspect(board, out or board.parent, manner, known)
        if as_json:
            print_json(facts)
        else:
            sys.stdout.write(_words(facts))


def _inspect(path: Path, out: Path, manner: Manner, settings: AgentSettings) -> dict[str, Any]:
    store = StateStore(StatePaths(settings.state))
    predictor = make_predictor(store, lambda: None, settings)
    free_bytes = free_here(settings.ram_cap)
    with contextlib.closing(predictor), open_board(path, free_bytes) as board:
        inspection = predictor.locally(
            lambda model: inspect_board(model, board, manner, free_bytes, progress)
        )
        return _write(path, out, board, inspection)


def _write(path: Path, out: Path, board: Board, inspection: Inspection) -> dict[str, Any]:
    with named_disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    picture = out / f"{path.stem}.inspect.png"
    save_picture(board.drawn(inspection.heat_map, inspection.found), picture)
    facts = {"image": path.name, **inspection.facts, "picture": picture.name}
    beside = out / f"{path.stem}.inspect.json"
    write_atomic(beside, json.dumps(facts, indent=1).encode())
    return facts | {"picture": str(picture), "json": str(beside)}


def _words(facts: dict[str, Any]) -> str:
    n_tiles = len(facts["grid"]["x"]) * len(facts["grid"]["y"])
    boxes = facts["boxes"]
    worst = f", the worst {boxes[0]['score']:.1%}" if boxes else ""
    many = "1 box" if len(boxes) == 1 else f"{len(boxes)} boxes"
    return (
        f"{facts['label']}: {many}{worst} ({n_tiles} tiles of {facts['tile_px']} px, "
        f"{facts['variant']}, {facts['seconds']:.1f} s), drawn in {facts['picture']}\n"
    )
