"""Shows the measured frontier of a release: a picture (SVG, PNG) and a Markdown table.

It reads a release and nothing else: every figure, and every word on how it was measured, comes from
there, and the same release gives the same bytes. It measures nothing, and what beats what is
decided in ``models.frontier``. Drawing needs no browser, no network and no installed font.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert
from PIL import Image

from contract.measurement import FrontierPoint
from contract.plan import FULL, HEAD
from contract.release import Release
from models.frontier import costs, dominates
from models.whole_folder import whole_folder

SVG_FILE = "frontier.svg"
PNG_FILE = "frontier.png"
TABLE_FILE = "frontier.md"

SHAPES = {"head only": "circle", "from a block on": "diamond", "full": "square"}
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#b0508f", "#7a5c00", "#777777")
"""Told apart by colour-blind eyes too, and legible on white."""
MANY_COLOURS: Final = "tableau20"
STYLE = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",  # the renderer's own; others as wide
    "legend": {"labelLimit": 130, "symbolOpacity": 1},
    "title": {
        "anchor": "start",
        "offset": 12,
        "subtitleColor": "#333333",
        "subtitleFontSize": 12,
        "subtitleLineHeight": 16,
        "subtitlePadding": 6,
    },
}
HEIGHT_PX = 440
PNG_SCALE = 2.0
TITLE_COLUMNS, CAPTION_COLUMNS = 90, 180
AIR = 1.15
"""Room left and right of the outermost points, as a factor: the axes are logarithmic."""
Y_STEP = 0.05
FAINT_MARK, FAINT_BAR = 0.3, 0.18
"""Bars of one network lie on top of each other, and their inks add up."""

READING = """\
Mark: mean over the boards. Bar: down to the lower bound of its 95 % interval, by which to choose.
Black line: the best lower bound within a memory budget (left) or a latency limit (right).
Faint: another point is as good or better in every figure."""
NOTE = """\
Accuracies are balanced; *before* is without fine-tuning. *Peak* is that of the whole process, floor
and workload, in MB of a million bytes. *Front*: no other point is as good or better in lower bound,
workload, training time, latency and size."""


class NothingToReportError(ValueError):
    """A release without a point that has all its figures."""

    def __init__(self, release: Release) -> None:
        super().__init__(
            f"release {release.number} holds {len(release.points)} points and none with all its "
            "figures, so there is nothing to draw: measure its variants first"
        )


class ReportNotWrittenError(RuntimeError):
    """The folder for the report is there already, or cannot be made."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"cannot write a report to {folder}: {reason}")
        self.folder = folder


@dataclass(frozen=True, kw_only=True)
class Row:
    """A point as the report shows it; ``beaten_by`` is the number of a row that dominates it."""

    number: int
    point: FrontierPoint
    missing: tuple[str, ...]
    beaten_by: int | None

    @property
    def on_front(self) -> bool:
        """Say whether it has every figure and no other such point beats it."""
        return not self.missing and self.beaten_by is None


def write_report(folder: Path, release: Release) -> tuple[Row, ...]:
    """Write picture and table into ``folder``, all or nothing; return the rows of the table.

    Raises NothingToReportError, and ReportNotWrittenError when ``folder`` exists or cannot be made.
    """
    if folder.exists():
        raise ReportNotWrittenError(folder, "it exists: name a folder that does not, or remove it")
    table = rows(release)
    svg = vl_convert.vegalite_to_svg(spec(release, table), allowed_base_urls=[])
    files = {
        SVG_FILE: svg.encode(),
        PNG_FILE: _png(svg),
        TABLE_FILE: render_table(release, table).encode(),
    }
    try:
        _write_whole(folder, files)
    except OSError as error:
        raise ReportNotWrittenError(folder, error.strerror or str(error)) from error
    return table


def _png(svg: str) -> bytes:
    """Rasterise; packed by Pillow, a picture is a seventh of what the renderer makes of it."""
    packed = BytesIO()
    with Image.open(BytesIO(vl_convert.svg_to_png(svg, scale=PNG_SCALE))) as image:
        image.convert("RGB").save(packed, "PNG", optimize=True)
    return packed.getvalue()


def _write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    with whole_folder(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def rows(release: Release) -> tuple[Row, ...]:
    """Return every point in the release's order; raises NothingToReportError where none is whole.

    Only points with all their figures beat others or are beaten.
    """
    numbered = dict(enumerate(release.points, start=1))
    whole = {number: point for number, point in numbered.items() if not missing(point)}
    if not whole:
        raise NothingToReportError(release)
    above = beaten_by(whole)
    return tuple(
        Row(number=number, point=point, missing=missing(point), beaten_by=above.get(number))
        for number, point in numbered.items()
    )


def beaten_by(points: Mapping[int, FrontierPoint]) -> dict[int, int | None]:
    """Return for every number that of the first point (by name) on the front that dominates it."""
    bill = {number: costs(point) for number, point in points.items()}
    above = {n: [m for m in points if dominates(bill[m], bill[n])] for n in points}
    front = {n for n, dominators in above.items() if not dominators}
    return {
        n: min(front.intersection(dominators), key=lambda m: points[m].key, default=None)
        for n, dominators in above.items()
    }


def missing(point: FrontierPoint) -> tuple[str, ...]:
    """Name the figures without which a point is not drawn: not measured, or an impossible zero."""
    figures = {
        "accuracy": point.accuracy_mean,
        "lower bound": point.accuracy_lower,
        "accuracy before": point.accuracy_before,
        "peak": point.peak_workload_bytes or None,
        "floor": point.floor_bytes,
        "training time": point.train_seconds,
        "latency": point.latency_ms or None,
        "artifact size": point.artifact_bytes,
    }
    return tuple(name for name, figure in figures.items() if figure is None)


def peak_mb(point: FrontierPoint) -> float | None:
    """Return the predicted peak of the whole process, floor and workload, in MB (a million)."""
    workload, base = point.peak_workload_bytes, point.floor_bytes
    return None if workload is None or base is None else (workload + base) / 1e6


def stairs(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the best ``y`` to be had at or below each ``x``."""
    corners: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not corners or y > corners[-1][1]:
            corners.append((x, y))
    return corners


def caption(release: Release, table: Sequence[Row]) -> str:
    """Say under which conditions the points were measured, and how many are not drawn.

    Where points differ in a condition, each of its values is named.
    """
    every = [point.conditions for point in release.points]
    days = sorted(c.measured_at.partition("T")[0] for c in every)
    boards = sorted({name for c in every for name in c.boards})
    named = f" ({', '.join(boards)})" if boards else ""
    versions = sorted({pair for c in every for pair in c.versions.items()})
    left_out = sum(bool(row.missing) for row in table)
    return (
        f"Measured {' to '.join(dict.fromkeys((days[0], days[-1])))}: "
        f"{_counted((c.repeats for c in every), 'board')}{named}, "
        f"n = {_counted((c.n_train for c in every), 'labelled tile')} a board, "
        f"{_counted((c.n_test for c in every), 'test tile')} in all, "
        f"seeds {_listed(', '.join(map(str, c.seeds)) or 'not on record' for c in every)}; "
        f"{_counted((c.threads for c in every), 'thread')} on {_listed(c.cpu for c in every)} "
        f"({_listed(c.host for c in every)}); "
        f"{', '.join(f'{name} {version}' for name, version in versions)}. "
        f"Method: {_listed(c.method for c in every)}. "
        f"{len(table) - left_out} of {len(table)} points drawn, "
        f"{left_out} left out for a missing figure."
    )


def _counted(numbers: Iterable[int], noun: str) -> str:
    said = _listed(f"{number:,}" for number in numbers)
    return f"{said} {noun}" if said == "1" else f"{said} {noun}s"


def _listed(values: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(values))


HEADER = (
    "#", "variant", "plan", "mean", "lower bound", "before", "peak, MB", "train, CPU s",
    "latency, ms", "artifact, MB", "front",
)  # fmt: skip


def render_table(release: Release, table: Sequence[Row]) -> str:
    """Return the table as Markdown, with a title and the conditions below."""
    lines = [HEADER, ("---",) * len(HEADER), *(_cells(row, table) for row in table)]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    heading, conditions = _escaped(title(release)), _escaped(caption(release, table))
    return "\n\n".join([f"# {heading}", grid, NOTE, conditions]) + "\n"


def title(release: Release) -> str:
    """Return the heading of picture and table."""
    return f"{release.title} (release {release.number}): measured frontier"


def _cells(row: Row, table: Sequence[Row]) -> tuple[str, ...]:
    point = row.point
    return (
        str(row.number),
        point.variant,
        point.plan.title,
        _number(point.accuracy_mean, 3),
        _number(point.accuracy_lower, 3),
        _number(point.accuracy_before, 3),
        _number(peak_mb(point), 0),
        _number(point.train_seconds, 1),
        _number(point.latency_ms, 2),
        _number(point.artifact_bytes, 2, 1e-6),
        _standing(row, table),
    )


def _standing(row: Row, table: Sequence[Row]) -> str:
    if row.missing:
        return f"not ranked: no {', no '.join(row.missing)}"
    if row.beaten_by is None:
        return "on it"
    better = table[row.beaten_by - 1].point
    return f"beaten by {row.beaten_by} ({better.variant} {better.plan.scope.title})"


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:,.{digits}f}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", text)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal axis of a panel, logarithmic."""

    heading: str
    title: str
    width_px: int
    of: Callable[[FrontierPoint], float | None]


AXES = (
    Axis(
        heading="Memory to fine-tune",
        title="predicted peak memory of the whole fine-tune process, MB (log scale)",
        width_px=520,
        of=peak_mb,
    ),
    Axis(
        heading="Time to judge an image",
        title="latency, ms an image (log scale)",
        width_px=370,
        of=lambda point: point.latency_ms,
    ),
)
Y_TITLE = "balanced accuracy after fine-tuning (0 to 1)"


def marks(axis: Axis, table: Iterable[Row]) -> list[dict[str, Any]]:
    """Return what is drawn in a panel, the front last and so on top."""
    drawn = sorted((row for row in table if not row.missing), key=lambda row: row.on_front)
    return [
        {
            "x": axis.of(row.point),
            "mean": row.point.accuracy_mean,
            "lower": row.point.accuracy_lower,
            "variant": row.point.variant,
            "scope": _scope(row.point.plan.scope.cut),
            "front": row.on_front,
        }
        for row in drawn
    ]


def front_line(drawn: Iterable[Mapping[str, Any]], end: float) -> list[dict[str, Any]]:
    """Return the front's steps, drawn on to ``end``."""
    corners = stairs((mark["x"], mark["lower"]) for mark in drawn if mark["front"])
    return [{"x": x, "lower": y} for x, y in [*corners, (end, corners[-1][1])]]


def spec(release: Release, table: Sequence[Row]) -> dict[str, Any]:
    """Return the picture as a Vega-Lite specification that holds all its data."""
    panels = alt.hconcat(*(_panel(axis, table) for axis in AXES), spacing=24)
    name = textwrap.wrap(title(release), TITLE_COLUMNS)
    heading = alt.TitleParams(name, subtitle=READING.splitlines(), fontSize=20)
    lines = textwrap.wrap(caption(release, table), CAPTION_COLUMNS, break_on_hyphens=False)
    below = alt.TitleParams("How this was measured", subtitle=lines, orient="bottom")
    framed = alt.vconcat(panels.properties(title=heading)).properties(title=below)
    found: dict[str, Any] = framed.properties(
        background="white", padding=14, config=STYLE
    ).to_dict()
    return found


def _panel(axis: Axis, table: Sequence[Row]) -> alt.LayerChart | alt.FacetChart:
    drawn = marks(axis, table)
    low, high = min(mark["x"] for mark in drawn) / AIR, max(mark["x"] for mark in drawn) * AIR
    x = alt.X("x:Q", title=axis.title).axis(format=",~r")
    x = x.scale(type="log", domain=[low, high], nice=False)
    points = _data(drawn).encode(x=x, y=_accuracy(drawn), color=_colour(table))
    steps = _data(front_line(drawn, high)).encode(x=x, y="lower:Q")
    return alt.layer(
        points.mark_rule(strokeWidth=1.5).encode(y2="lower:Q", opacity=_opacity(FAINT_BAR)),
        steps.mark_line(interpolate="step-after", color="black", strokeWidth=2),
        points.mark_point(filled=True, size=90, stroke="white", strokeWidth=0.8).encode(
            shape=_shape(), opacity=_opacity(FAINT_MARK)
        ),
    ).properties(width=axis.width_px, height=HEIGHT_PX, title=axis.heading)


def _data(values: Sequence[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(values)))


def _accuracy(drawn: Iterable[Mapping[str, Any]]) -> alt.Y:
    seen = [mark[name] for mark in drawn for name in ("mean", "lower")]
    low = floor(min(seen) / Y_STEP)
    high = max(ceil(max(seen) / Y_STEP), low + 1)
    domain = [round(steps * Y_STEP, 2) for steps in (low, high)]
    return (
        alt.Y("mean:Q", title=Y_TITLE)
        .axis(format=".2f", tickMinStep=0.01)
        .scale(domain=domain, nice=False)
    )


def _colour(table: Iterable[Row]) -> alt.Color:
    names = list(dict.fromkeys(row.point.variant for row in table if not row.missing))
    colour = alt.Color("variant:N", title="network")
    if len(names) > len(COLOURS):
        return colour.scale(domain=names, scheme=MANY_COLOURS)
    return colour.scale(domain=names, range=list(COLOURS[: len(names)]))


def _opacity(faint: float) -> alt.Opacity:
    return alt.Opacity("front:N", legend=None).scale(domain=[True, False], range=[1, faint])


def _shape() -> alt.Shape:
    shape = alt.Shape("scope:N", title="what trains")
    return shape.scale(domain=list(SHAPES), range=list(SHAPES.values()))


def _scope(cut: str) -> str:
    head, prefix, full = SHAPES
    return {HEAD: head, FULL: full}.get(cut, prefix)
