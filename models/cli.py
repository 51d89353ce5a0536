"""The lab's commands: ``python -m models <command>``. Each loads only what it needs.

``finetune`` and ``latency`` are not here: they run under a memory cap, and ``models.__main__``
starts them before anything heavy is imported. Exit codes: 0 done; 1 it could not be done, and one
line on standard error says why; 2 usage.
"""

import json
import sys
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Self

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

app = typer.Typer(
    name="python -m models", no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
console = Console()

Out = Annotated[Path, typer.Option(help="Folder to write into; it must not exist")]
Work = Annotated[Path, typer.Option(help="Folder for everything that a stopped run keeps")]


class FolderExistsError(ValueError):
    """A command would write over a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} exists: name a folder that does not, or remove it")
        self.folder = folder


def main(argv: list[str]) -> int:
    """Run one command and return its exit code; what a user can mend is one line, no traceback."""
    try:
        app(argv, prog_name="python -m models")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {words}", file=sys.stderr)
        return 1
    return 0


def _is_for_the_user(error: Exception) -> bool:
    """Say whether this project names the error, or a file is not what it should be.

    Anything else is a bug and keeps its traceback. Safetensors is known by its name, because
    ``generate`` runs where it is not installed.
    """
    named = type(error).__module__.startswith(("models.", "safetensors"))
    return named or isinstance(error, OSError | JSONDecodeError | ValidationError)


@app.command()
def networks() -> None:
    """List the registry: name, input size, parameters."""
    from models.networks import build, parameter_count  # noqa: PLC0415
    from models.networks.registry import NETWORKS  # noqa: PLC0415

    table = Table("network", "input px", "head units", "parameters")
    for name, spec in NETWORKS.items():
        count = f"{parameter_count(build(spec)):,}"
        table.add_row(name, str(spec.input_px), str(spec.head_units), count)
    console.print(table)


@app.command()
def generate(
    out: Out,
    board: Annotated[int, typer.Option(min=0, help="Board seed: decides design and style")] = 9100,
    ok: Annotated[int, typer.Option(min=1, help="How many ok tiles")] = 100,
    defect: Annotated[int, typer.Option(min=1, help="How many defect tiles")] = 100,
    px: Annotated[int, typer.Option(min=32, max=512, help="Side of a tile in pixels")] = 192,
    seed: Annotated[int, typer.Option(min=0, help="Tile seed: other tiles of the same board")] = 0,
) -> None:
    """Draw ok and defect tiles of one generated board into a folder."""
    from models.data.generator.boards import write_board  # noqa: PLC0415
    from models.whole_folder import whole_folder  # noqa: PLC0415

    if out.exists():
        raise FolderExistsError(out)
    with whole_folder(out) as unfinished:
        write_board(unfinished, board, n_ok=ok, n_defect=defect, px=px, seed=seed)
    console.print(f"{ok} ok and {defect} defect tiles of board {board} in {out}")


@app.command(name="train")
def train_command(
    variant: Annotated[str, typer.Option(help="A network of the starter release")],
    work: Work = Path("var/lab"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Train one variant on generated and DeepPCB tiles; export its graphs."""
    from models import starter  # noqa: PLC0415
    from models.data.pool import PoolRecipe  # noqa: PLC0415
    from models.train import Recipe  # noqa: PLC0415

    starter.require_starter(variant)
    with _bar() as report:
        pools = starter.build_pools(work, PoolRecipe(), report)
        recipe = Recipe(threads=threads)
        folder = starter.train_variant(variant, pools, recipe, work, report)
    files = starter.export_trained(variant, folder)
    console.print(f"{variant}: {files.variant.parameters:,} parameters in {folder}")


@app.command(name="import-keras")
def import_keras_command(
    file: Annotated[Path, typer.Argument(help="Weights of Keras's Xception: .h5 or .keras")],
    out: Out,
    classes: Annotated[int, typer.Option(min=1, max=1000, help="Units of the new head")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the new head")] = 0,
) -> None:
    """Bring Keras's ImageNet weights to the registry's Xception; only the head is new."""
    from models.keras_weights import import_keras  # noqa: PLC0415

    if out.exists():
        raise FolderExistsError(out)
    weights = import_keras(file, out, classes=classes, seed=seed)
    version = weights.keras_version or "unknown version"
    console.print(f"{len(weights.layers)} layers of Keras {version} in {out}")


@app.command(name="export")
def export_command(
    variant: Annotated[str, typer.Option(help="A network of the starter release")],
    folder: Annotated[Path, typer.Option(help="Folder with weights.safetensors")],
) -> None:
    """Export inference and training-step graphs; refuses when they disagree with torch."""
    from models import starter  # noqa: PLC0415

    files = starter.export_trained(variant, folder)
    console.print(f"{variant}: {', '.join(sorted(p.name for p in files.paths.values()))}")


@app.command(name="measure")
def measure_command(
    folder: Annotated[Path, typer.Option(help="Folder of one exported variant")],
    boards: Annotated[
        Path, typer.Option(help="Holds BOARD/train and BOARD/test, each ok/ defect/")
    ],
    out: Annotated[Path, typer.Option(help="File for the points, JSON")],
    work: Work = Path("var/lab/measure"),
    tiles: Annotated[int, typer.Option(min=2, help="Labelled tiles per board to learn from")] = 200,
    task: Annotated[str, typer.Option(help="Name of the task, part of every point")] = "pcb-adapt",
) -> None:
    """Run the fine-tune program for every plan of a variant on every board; write points."""
    from models.measure import boards_in, measure_points  # noqa: PLC0415
    from models.starter import plans_of  # noqa: PLC0415
    from models.variant import load_variant  # noqa: PLC0415

    files = load_variant(folder)
    with _bar() as report:
        points = measure_points(
            [(files, plan) for plan in plans_of(files.variant.spec, files.variant.blocks)],
            boards=boards_in(boards),
            task=task,
            train_limit=tiles,
            out_dir=work,
            report=report,
        )
    out.write_text(json.dumps([point.model_dump(mode="json") for point in points], indent=1))
    console.print(f"{len(points)} points of {files.variant.name} in {out}")


@app.command(name="release")
def release_command(
    out: Out,
    number: Annotated[int, typer.Option(min=1, help="Release number, higher than any before")],
    title: Annotated[str, typer.Option(help="What people call it")],
    variant: Annotated[list[Path], typer.Option(help="Folder of an exported variant; repeatable")],
    points: Annotated[list[Path], typer.Option(help="File that `measure` wrote; repeatable")],
) -> None:
    """Write an immutable release folder from measured variants, with its model card."""
    from contract.measurement import FrontierPoint  # noqa: PLC0415
    from models.starter import publish  # noqa: PLC0415
    from models.variant import load_variant  # noqa: PLC0415

    measured = [
        FrontierPoint.model_validate(row) for path in points for row in json.loads(path.read_text())
    ]
    variants = [load_variant(folder) for folder in variant]
    publish(out, number=number, title=title, variants=variants, points=measured)
    console.print(f"release {number}: {len(variants)} variants, {len(measured)} points in {out}")


@app.command(name="starter")
def starter_command(
    out: Out = Path("releases/starter"),
    work: Work = Path("var/lab"),
    number: Annotated[int, typer.Option(min=1, help="Release number")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads for training")] = 1,
) -> None:
    """Make the starter release from nothing; a stopped run goes on where it was."""
    from models.data.pool import PoolRecipe  # noqa: PLC0415
    from models.starter import make_starter  # noqa: PLC0415
    from models.train import Recipe  # noqa: PLC0415

    with _bar() as report:
        release = make_starter(
            out,
            number=number,
            work=work,
            recipe=Recipe(threads=threads),
            pool_recipe=PoolRecipe(),
            report=report,
        )
    console.print(f"release {release.number}: {len(release.points)} points in {out}")


@app.command(name="check")
def check_command(
    folder: Annotated[Path, typer.Argument(help="A release folder")],
) -> None:
    """Check a release folder: every file against its length and SHA-256."""
    from models.release import read_release  # noqa: PLC0415

    release = read_release(folder)
    files = len(release.artifacts())
    console.print(f"release {release.number} is whole: {files} files, {len(release.points)} points")


@app.command(name="report")
def report_command(
    folder: Annotated[Path, typer.Argument(help="A release folder")],
    out: Out,
) -> None:
    """Draw a release's measured frontier (SVG, PNG) and write it as a Markdown table."""
    from models.release import read_release  # noqa: PLC0415
    from models.report import write_report  # noqa: PLC0415

    table = write_report(out, read_release(folder))
    front = sum(row.on_front for row in table)
    console.print(f"{front} of {len(table)} points are on the front: picture and table in {out}")


class _bar:  # noqa: N801  # a context manager that reads like a function
    """A progress bar with time left; calling it moves the bar of a stage."""

    def __enter__(self) -> Self:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console)
        self._progress.start()
        self._task = self._progress.add_task("", total=None)
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=stage, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
