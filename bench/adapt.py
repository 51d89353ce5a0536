"""Adapting to a real board: prints one JSON object with its conditions.

    PYTHONPATH=. python bench/adapt.py [--release releases/starter] [--tiles 200] [--variant NAME]

For every plan of every variant of a release: fine-tune on ``--tiles`` labelled tiles (half of each
class) of a real board that the release never saw, test on the rest of that board; once per board,
through the very program that boxes run. Finished runs are kept in ``--work``, so a stopped run
goes on. Tiles of the test part that copy a training tile are dropped by the program and counted.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from contract.measurement import FrontierPoint
from contract.release import Release
from models.data import pcb_tiles
from models.measure import Board, VariantFiles, boards_in, measure_points
from models.release import FILES_FOLDER, read_release

_SEED = 0


def lay_out(boards: tuple[pcb_tiles.Board, ...], tiles: int, folder: Path) -> Path:
    """Copy each board into ``BOARD/train`` (``tiles``, half a class) and ``BOARD/test`` (rest)."""
    target = folder / f"boards-{tiles}"
    for board in boards:
        if (target / board.name).is_dir():
            continue
        chosen = {f.path for f in pcb_tiles.sample(board, tiles // 2, _SEED).files}
        temporary = target / f".{board.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        for file in board.files:
            part = "train" if file.path in chosen else "test"
            place = temporary / part / file.path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.path, place)
        temporary.rename(target / board.name)
    return target


def measure(
    folder: Path, *, boards: list[Board], tiles: int, only: str | None, work: Path
) -> list[FrontierPoint]:
    """Measure every plan that the release names, on the real boards."""
    release = read_release(folder)
    chosen = [p for p in release.points if only in {None, p.variant}]
    points = measure_points(
        [(_files(folder, release, point.variant), point.plan) for point in chosen],
        boards=boards,
        task="pcb-adapt-real",
        train_limit=tiles,
        out_dir=work / "runs",
        report=_tell,
    )
    return list(points)


def _tell(name: str, done: int, total: int) -> None:
    print(f"{done} of {total}: {name}", file=sys.stderr)  # noqa: T201


def _files(folder: Path, release: Release, name: str) -> VariantFiles:
    paths = {digest: (folder / FILES_FOLDER / digest).resolve() for digest in release.artifacts()}
    return VariantFiles(variant=release.variant(name), paths=paths)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    parser.add_argument("--boards", type=Path, default=pcb_tiles.default_root())
    parser.add_argument("--board", action="append", help="only this board; repeatable")
    parser.add_argument("--variant", help="only this variant")
    parser.add_argument("--tiles", type=int, default=200, help="labelled tiles to learn from")
    parser.add_argument("--work", type=Path, default=Path("var/bench/adapt"))
    options = parser.parse_args()
    laid_out = lay_out(pcb_tiles.load_boards(options.boards), options.tiles, options.work)
    chosen = [b for b in boards_in(laid_out) if not options.board or b.name in options.board]
    points = measure(
        options.release,
        boards=chosen,
        tiles=options.tiles,
        only=options.variant,
        work=options.work,
    )
    rows = [{"key": p.key, **p.model_dump(mode="json")} for p in points]
    print(json.dumps({"figure": "adaptation to a real board", "points": rows}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
