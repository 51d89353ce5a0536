"""``device_agent check``: whether a folder of images will do, before anything trains on it."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_agent.commands.options import (
    JsonOption,
    StateOption,
    ending,
    load_settings,
    print_json,
)
from device_agent.disk.paths import StatePaths
from device_agent.display import Advance, progress
from device_agent.errors import DataUnusableError
from device_agent.log import configure_logging
from device_agent.loop.state import StateStore
from device_agent.quality.request import CheckRequest, request_for
from device_agent.quality.verdict import LEAST_HELD_BACK, Counts, least_in, needed
from device_agent.server.fetch import Cache

if TYPE_CHECKING:
    from rich.table import Table

    from device_agent.quality.check import OnProgress, Quality

_SHOWN = 3
KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="What --quarantine moves; repeatable. Default: what is certain."),
]


def check(  # noqa: PLR0913 - one parameter for each documented option
    folder: Annotated[
        Path | None, typer.Argument(help="Folder that holds ok/ and defect/; default: --data.")
    ] = None,
    *,
    test_data: Annotated[
        Path | None, typer.Option("--test-data", help="Folder of images to judge by.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a contact sheet of suspects (PNG).")
    ] = None,
    quarantine: Annotated[
        Path | None, typer.Option("--quarantine", help="Move what is wrong into this folder.")
    ] = None,
    kind: KindOption = None,
    restore: Annotated[
        Path | None, typer.Option("--restore", help="Put back what --quarantine moved there.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at every image: unreadable, tiny, copied, contradicting, probably mislabelled, unlike.

    Nothing is moved without --quarantine, and --restore undoes that. Ends with code 3 when the
    images are not enough, and says how many more of what are needed.

    Example: device_agent check images --sheet suspects.png
    """
    configure_logging()
    settings = load_settings(state=state, test_data=test_data)
    with ending():
        if restore is not None:
            return _restore(restore, as_json=as_json)
        data = folder or settings.data
        if data is None:
            raise DataUnusableError("name the folder that holds ok/ and defect/")
        request = _request(StatePaths(settings.state), data, settings.test_data)
        quality = _look(request)
        facts = quality.facts()
        if sheet is not None:
            facts["sheet"] = _sheet(quality, sheet)
        if quarantine is not None:
            facts["moved"] = _quarantine(quality, quarantine, kind or [])
        _show(quality, facts, as_json=as_json)
        if not quality.verdict.enough:
            raise typer.Exit(DataUnusableError.exit_code)
    return None


def _request(paths: StatePaths, data: Path, test_data: Path | None) -> CheckRequest:
    desired = StateStore(paths).load().desired
    assignment = desired.assignment if desired else None
    variant = assignment.variant if assignment else None
    return request_for(data, test_data, variant, Cache(paths.cache).path)


def _look(request: CheckRequest) -> "Quality":
    from device_agent.quality.check import check as look  # noqa: PLC0415 - numpy and Pillow

    with _bars() as on_progress:
        return look(request, on_progress)


@contextlib.contextmanager
def _bars() -> Iterator["OnProgress"]:
    """Show one bar for each stage, with the time left, on a terminal."""
    with contextlib.ExitStack() as stack:
        advance: dict[str, Advance] = {}

        def told(what: str, _: int, total: int) -> None:
            if what not in advance:
                stack.pop_all().close()
                advance[what] = stack.enter_context(progress(total, what))
            advance[what](1)

        yield told


def _sheet(quality: "Quality", target: Path) -> list[str]:
    from device_agent.quality.sheet import write_sheet  # noqa: PLC0415 - Pillow

    return [str(path) for path in write_sheet(target, quality.findings)]


def _quarantine(quality: "Quality", target: Path, kinds: list[str]) -> list[dict[str, str]]:
    from device_agent.quality.findings import SEVEREST_FIRST  # noqa: PLC0415 - numpy
    from device_agent.quality.quarantine import CERTAIN, set_aside  # noqa: PLC0415

    unknown = sorted(set(kinds) - set(SEVEREST_FIRST))
    if unknown:
        known = ", ".join(SEVEREST_FIRST)
        raise typer.BadParameter(f"--kind {unknown[0]!r}: choose one of {known}")
    wanted = set(kinds) or set(CERTAIN)
    moved = set_aside([f for f in quality.findings if f.kind in wanted], target)
    return [{"image": f"{m.folder}/{m.name}", "kept_as": m.kept_as, "why": m.why} for m in moved]


def _restore(target: Path, *, as_json: bool) -> None:
    from device_agent.quality.quarantine import put_back  # noqa: PLC0415 - numpy

    n_back, staying = put_back(target)
    if as_json:
        return print_json({"restored": n_back, "staying": staying})
    sys.stdout.write(f"{n_back} put back\n")
    for name in staying:
        sys.stdout.write(f"{name} stays in {target}: another image has its place\n")
    return None


def _show(quality: "Quality", facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(facts)
    from rich.console import Console  # noqa: PLC0415 - only for people

    console = Console()
    console.print(_class_table(quality.counts))
    if quality.findings:
        console.print(_finding_table(quality))
    for line in (*_notes(quality), *_done(facts), *_verdict(quality)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return None


def _class_table(counts: Counts) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - only for people

    table = Table("class", "images", "usable", "needed")
    wanted = needed(counts.data, least_in(counts))
    for tally in counts.data:
        row = (tally.label, str(tally.found), str(tally.usable), str(wanted[tally.label]))
        table.add_row(*row)
    for tally in counts.test:
        row = (f"test: {tally.label}", str(tally.found), str(tally.usable), str(LEAST_HELD_BACK))
        table.add_row(*row)
    return table


def _finding_table(quality: "Quality") -> "Table":
    from rich.markup import escape  # noqa: PLC0415 - only for people
    from rich.table import Table  # noqa: PLC0415

    table = Table("finding", "images", "such as")
    for kind, count in quality.tally().items():
        some = [f for f in quality.findings if f.kind == kind][:_SHOWN]
        shown = "\n".join(escape(f"{f.file.name}: {f.why}") for f in some)
        table.add_row(kind.replace("_", " "), str(count), shown)
    return table


def _notes(quality: "Quality") -> Iterator[str]:
    labels, shift = quality.labels, quality.shift
    if labels.skipped is not None:
        yield f"Labels were not judged: {labels.skipped}."
    elif labels.accuracy is not None:
        yield (
            f"{labels.n_judged} labels were judged by a classifier that agrees with "
            f"{labels.accuracy:.0%} of them out of sample: look before you change one."
        )
    if shift is None:
        yield "The images were not held against the release's: it states no reference."
    else:
        yield (
            f"Unlike the training images most in {shift.worst.name}: PSI {shift.worst.index:.2f} "
            f"(under 0.1 alike, over 0.25 not; by chance up to {shift.by_chance:.2f}), "
            f"{shift.worst.outside_share:.0%} of the images outside theirs."
        )


def _done(facts: dict[str, Any]) -> Iterator[str]:
    for path in facts.get("sheet", []):
        yield f"Suspects are on {path}"
    if "moved" in facts:
        yield f"{len(facts['moved'])} set aside; --restore puts back what lies there"


def _verdict(quality: "Quality") -> Iterator[str]:
    yield quality.advice() if quality.verdict.enough else f"Not enough: {quality.advice()}"
