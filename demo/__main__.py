"""``python -m demo``: what ``make run`` starts.

It stays up, for the operators' page, until Ctrl-C when its output is a terminal (or with
``--stay``); otherwise it ends after the table. State lies in ``var/demo``; a second run finds the
boxes trained and is quick. ``--fresh`` forgets it first.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TextIO

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from demo.fleet import Json, Server, settle, start_boxes, start_server
from demo.images import what_is_wrong_with
from demo.processes import STOPPING_SIGNALS, Program, free_port, run_tool, stop_all
from demo.table import fleet_table, reasons

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "demo"
UNSEEN_BOARD = 9100
"""A board seed far outside those that the starter release was trained and measured on."""
TILES_PER_CLASS = 100
WIDTH_WITHOUT_TERMINAL = 180
LAST_PORT = 65_535


def main(argv: list[str]) -> int:
    """Run the demo; returns the exit status: 0 done or stopped, 1 it failed, 2 bad arguments."""
    arguments = _arguments(argv)
    console = wide_console(sys.stdout)
    wrong = what_is_wrong_with(arguments.data) if arguments.data else ""
    wrong = wrong or _wrong_with_release(arguments.release)
    if wrong:
        console.print(f"The demo cannot start: {wrong}", style="red", markup=False, highlight=False)
        return 2
    for number in STOPPING_SIGNALS:
        signal.signal(number, _interrupt)
    folder = STATE / state_name(arguments.data)
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    programs: list[Program] = []
    try:
        _show(arguments, folder, programs, console)
    except KeyboardInterrupt:
        console.print("Stopping.")
    except (RuntimeError, OSError, httpx2.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False, highlight=False)
        return 1
    finally:
        stop_all(programs)
    return 0


def wide_console(stream: TextIO) -> Console:
    """Return a console in which the table is readable: a file or a pipe has no width of its own."""
    return Console(file=stream, width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with ok/ and defect/ images")
    parser.add_argument("--port", type=_port_number, default=8080, help="port of the server")
    parser.add_argument("--release", type=Path, default=ROOT / "releases" / "starter")
    parser.add_argument("--floor", type=float, default=0.55, help="least balanced accuracy")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run's state")
    parser.add_argument("--stay", action="store_true", help="stay up after the table")
    return parser.parse_args(argv)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _port_number(text: str) -> int:
    port = int(text)
    if not 1 <= port <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not between 1 and {LAST_PORT}")
    return port


def _wrong_with_release(release: Path) -> str:
    if (release / "release.json").is_file():
        return ""
    return f"{release} holds no release: fetch it with the project, or make it by `make starter`."


def state_name(data: Path | None) -> str:
    """Return a folder name for the run's state: other images are another world."""
    if data is None:
        return "generated"
    whole = data.resolve()
    return f"{whole.name[:80]}-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]}"


def _show(
    arguments: argparse.Namespace, folder: Path, programs: list[Program], console: Console
) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        data = arguments.data.resolve() if arguments.data else _tiles(folder, progress)
        server = _server(arguments, folder, progress, programs)
        boxes = start_boxes(server, data=data, folder=folder, programs=programs)
        rows = settle(server, boxes, _bars(progress, boxes))
    _tell(console, rows, server, data)
    if arguments.stay or sys.stdout.isatty():
        console.print("The fleet is running. Ctrl-C stops it.")
        server.program.process.wait()
        server.program.check()


def _tell(console: Console, rows: list[Json], server: Server, data: Path) -> None:
    console.print(fleet_table(rows))
    lines = [
        *reasons(rows),
        f"Images: {data}",
        f"Operators' page: {server.url}/docs",
        f"Authorize there with the token {server.operator_token}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


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


def _server(
    arguments: argparse.Namespace, folder: Path, progress: Progress, programs: list[Program]
) -> Server:
    task = progress.add_task("database, release and server", total=None)
    server = start_server(
        folder / "server",
        arguments.release,
        port=server_port(folder, arguments.port),
        floor=arguments.floor,
        programs=programs,
    )
    progress.update(task, total=1, completed=1)
    return server


def server_port(folder: Path, wanted: int) -> int:
    """Return the server's port, the same in every run: it is part of the name boxes know it by."""
    known = folder / "port"
    if not known.is_file() or not known.read_text().isdigit():
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
    sys.exit(main(sys.argv[1:]))
