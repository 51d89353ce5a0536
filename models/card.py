"""Writes the model card of a release: what it is, what it was made from, what it is worth.

Every figure comes from the release itself; nothing is typed in by hand. Sections follow Mitchell
et al. 2019, "Model Cards for Model Reporting".
"""

from pathlib import Path

from contract.measurement import FrontierPoint
from contract.release import Release, Variant
from models.frontier import non_dominated

CARD_FILE = "MODEL_CARD.md"


def write_card(folder: Path, release: Release) -> None:
    """Write ``MODEL_CARD.md`` into the release folder."""
    (folder / CARD_FILE).write_text(render_card(release))


def render_card(release: Release) -> str:
    """Return the card as Markdown."""
    sections = [
        f"# {release.title} (release {release.number})",
        _INTRODUCTION,
        f"{_training_data(release.variants)} **Made by** `{release.made_by}`.",
        "## Variants\n\n" + _variants(release.variants),
        "## Measured points\n\n" + _measured(release),
        _LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


_INTRODUCTION = """\
Small networks that look at one square tile of a printed circuit board and say `ok` or `defect`.
They are starting points: a box fine-tunes one on labelled tiles of its board, then serves it."""

_POOL = """\
**Training data.** Tiles drawn by the project's seeded generator, and crops of DeepPCB's binarised
scans (MIT licence) that the generator's renderer turned into colour. No photograph of a real
board was used, so the files may be shipped."""

_LIMITS = """\
## What it is not for

The accuracies above hold for the boards that they were measured on. Those called `generated` are
drawings that no training tile came from, and from number 1000000 on they are unlike all of those:
mask colours and a camera that training never saw. That is what a new board is to a network; how far
it carries to real boards, `docs/benchmarks.md` says. Before fine-tuning, a variant is only a little
better than chance on a real board: do not serve it untouched. Only the defect kinds that the
generator draws were seen: open, short, mousebite, spur, spurious copper, pin-hole, missing hole.
"""


def _training_data(variants: tuple[Variant, ...]) -> str:
    """Say what the variants learned from; of a pool it is known that it holds no photograph."""
    unknown = [v.name for v in variants if "pool" not in v.lineage]
    if not unknown:
        return _POOL
    return (
        f"**Training data.** Not on record for {', '.join(unknown)}: whoever ships these files "
        "must know where they come from."
    )


def _variants(variants: tuple[Variant, ...]) -> str:
    rows = ["| variant | input | parameters | weights | validation AUC |", "|---|---|---|---|---|"]
    for v in variants:
        auc = v.lineage.get("validation_auc", "")
        size = f"{v.weights.length_bytes / 1e6:.2f} MB"
        rows.append(f"| {v.name} | {v.spec.input_px} px | {v.parameters:,} | {size} | {auc} |")
    return "\n".join(rows)


def _measured(release: Release) -> str:
    if not release.points:
        return "Nothing has been measured yet: no box is given any of these variants."
    front = {point.key for point in non_dominated(release.points)}
    return _conditions(release) + "\n\n" + _points(release, front)


def _conditions(release: Release) -> str:
    seen = release.points[0].conditions
    versions = ", ".join(f"{name} {version}" for name, version in sorted(seen.versions.items()))
    return (
        f"Method: {seen.method}; {seen.repeats} boards{_named(seen.boards)}, "
        f"n = {seen.n_train} labelled tiles each, {seen.n_test} test tiles in all; "
        f"{seen.threads} thread on {seen.cpu} ({seen.host}); "
        f"{versions}. *Peak* is the whole process's RSS above the floor after its imports; "
        "*front* marks the points that no other point beats in every figure."
    )


def _named(boards: tuple[str, ...]) -> str:
    return f" ({', '.join(boards)})" if boards else ""


def _points(release: Release, front: set[str]) -> str:
    rows = [
        "| variant | plan | before | after | lower bound | peak MB | ms/image | train s | front |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(rows + [_row(point, point.key in front) for point in release.points])


def _row(point: FrontierPoint, on_front: bool) -> str:  # noqa: FBT001  # a column
    cells = [
        point.variant,
        point.plan.title,
        _number(point.accuracy_before, 3),
        _number(point.accuracy_mean, 3),
        _number(point.accuracy_lower, 3),
        _number(point.peak_workload_bytes, 0, 1e-6),
        _number(point.latency_ms, 2),
        _number(point.train_seconds, 1),
        "yes" if on_front else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"
