"""``python -m demo``: what ``make run`` starts.

It stays up, for the operators' page, until Ctrl-C when its output is a terminal (or with
``--stay``); otherwise it ends after the table. State lies in ``var/demo``; a second run finds the
boxes trained and is quick. ``--fresh`` forgets it first.
"""

import argparse
import hashlib
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from demo.fleet import CAPS, Server, settle, start_box, start_server
from demo.processes import Program, ProgramFailedError, free_port, run_tool
from demo.table import fleet_table

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "demo"
UNSEEN_BOARD = 9100
"""A board seed far outside those that the starter release was trained and measured on."""
TILES_PER_CLASS = 100
LEAST_PER_CLASS = 10
console = Console(width=None if sys.stdout.isatty() else 180)


def main() -> int:
    """Run the demo; returns the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    if arguments.data and (wrong := what_is_wrong_with(arguments.data)):
        console.print(f"[red]The demo cannot start:[/red] {wrong}", highlight=False)
        return 2
    folder = STATE / _name(arguments.data)
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    programs: list[Program] = []
    try:
        _show(arguments, folder, programs)
    except KeyboardInterrupt:
        console.print("Stopping.")
    except (ProgramFailedError, RuntimeError, OSError, httpx2.HTTPError) as error:
        console.print(f"[red]The demo failed:[/red] {error}", highlight=False)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for program in reversed(programs):
            program.stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with ok/ and defect/ images")
    parser.add_argument("--port", type=int, default=8080, help="port of the server")
    parser.add_argument("--release", type=Path, default=ROOT / "releases" / "starter")
    parser.add_argument("--floor", type=float, default=0.55, help="least balanced accuracy")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run's state")
    parser.add_argument("--stay", action="store_true", help="stay up after the table")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _name(data: Path | None) -> str:
    """Return a folder name for the run's state: other images are another world."""
    if data is None:
        return "generated"
    return f"{data.name}-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]}"


def _show(arguments: argparse.Namespace, folder: Path, programs: list[Program]) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        data = arguments.data.resolve() if arguments.data else _tiles(folder, progress)
        server = _server(arguments, folder, progress)
        programs.append(server.program)
        token = server.enrol_token(uses=len(CAPS))
        programs.extend(
            start_box(name, server, data=data, folder=folder, token=token) for name in CAPS
        )
        boxes = programs[1:]
        rows = settle(server, boxes, _bars(progress, boxes))
    console.print(fleet_table(rows))
    console.print(f"Images: {data}")
    console.print(f"Operators' page: {server.url}/docs")
    console.print(f"Authorize there with the token {server.operator_token}", highlight=False)
    if arguments.stay or sys.stdout.isatty():
        console.print("The fleet is running. Ctrl-C stops it.")
        server.program.process.wait()


def _tiles(folder: Path, progress: Progress) -> Path:
    """Return the folder of generated tiles, made once."""
    data = folder / "tiles"
    if not data.is_dir():
        task = progress.add_task(f"drawing {2 * TILES_PER_CLASS} tiles of a board", total=None)
        count = str(TILES_PER_CLASS)
        options = ("--board", str(UNSEEN_BOARD), "--ok", count, "--defect", count)
        run_tool("python", "-m", "models", "generate", "--out", str(data), *options)
        progress.update(task, total=1, completed=1)
    return data


def _server(arguments: argparse.Namespace, folder: Path, progress: Progress) -> Server:
    task = progress.add_task("database, release and server", total=None)
    server = start_server(
        folder / "server",
        arguments.release,
        port=_port(folder, arguments.port),
        floor=arguments.floor,
    )
    progress.update(task, total=1, completed=1)
    return server


def what_is_wrong_with(data: Path) -> str:
    """Return why ``data`` cannot be learnt from and what to do, or nothing when it can."""
    for label in ("ok", "defect"):
        folder = data / label
        try:
            names = [path.name for path in folder.iterdir() if path.is_file()]
        except OSError as error:
            return f"{folder}: {error.strerror}. DATA must hold the folders ok/ and defect/."
        if len(names) < LEAST_PER_CLASS:
            return (
                f"{folder} holds {len(names)} files and at least {LEAST_PER_CLASS} images are "
                f"needed: add {LEAST_PER_CLASS - len(names)} more."
            )
    return ""


def _port(folder: Path, wanted: int) -> int:
    """Return the server's port, the same in every run: it is part of the name boxes know it by."""
    known = folder / "port"
    if not known.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        known.write_text(str(free_port(wanted)))
    port = int(known.read_text())
    if free_port(port) != port:
        message = (
            f"port {port}, under which the boxes of an earlier run know the server, is in use: "
            "stop what uses it, or start anew with --fresh"
        )
        raise RuntimeError(message)
    return port


def _bars(progress: Progress, boxes: list[Program]) -> "_Bars":
    return _Bars(progress, {box.name: progress.add_task(box.name, total=None) for box in boxes})


class _Bars:
    """One progress bar a box."""

    def __init__(self, progress: Progress, tasks: dict[str, TaskID]) -> None:
        self._progress = progress
        self._tasks = tasks

    def __call__(self, box: Program) -> None:
        said = box.progress
        words = f"{box.name} {said.get('event', 'starting')}"
        done, total = said.get("done", 0), said.get("total")
        self._progress.update(
            self._tasks[box.name],
            description=words,
            completed=float(done),
            total=float(total) if total else None,
        )


if __name__ == "__main__":
    sys.exit(main())
