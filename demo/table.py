"""Turns what the server knows of each box into the one table that the demo prints."""

from typing import Any

from rich.table import Table
from rich.text import Text

COLUMNS = (
    "box",
    "budget",
    "bound by",
    "variant",
    "plan",
    "why not the next better one",
    "peak RSS / cap",
    "balanced accuracy",
    "seconds",
    "outcome",
)


def fleet_table(rows: list[dict[str, Any]]) -> Table:
    """Return the table: one row a box."""
    table = Table(title="What each box was given, and what came of it", show_lines=True)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, cells(row["device"], row["decision"], row["outcome"])))
    return table


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """Return, for each box that serves no new model, what it says of it."""
    outcomes = ((row["device"]["serial"], row["outcome"]) for row in rows)
    return [f"{box}: {o['reason']}" for box, o in outcomes if o["status"] != "activated"]


def cells(device: dict[str, Any], decision: dict[str, Any], outcome: dict[str, Any]) -> list[str]:
    """Return one row's texts; a figure that is not known is a dash."""
    budget, chosen = decision["budget"], decision["chosen"]
    plan = _plan(chosen["plan"]) if chosen else "-"
    peak = f"{megabytes(outcome['peak_rss_bytes'])} / {megabytes(outcome['cap_bytes'])}"
    before, after = outcome["balanced_accuracy_before"], outcome["balanced_accuracy_after"]
    return [
        device["serial"],
        megabytes(budget["total_bytes"]),
        budget["bound_by"].replace("_", " "),
        chosen["variant"] if chosen else decision["action"],
        plan,
        decision["next_better"],
        peak,
        f"{_share(before)} -> {_share(after)} (n = {outcome['n_test'] or '-'})",
        "-" if outcome["seconds"] is None else f"{outcome['seconds']:.0f}",
        outcome["status"],
    ]


def _plan(plan: dict[str, Any]) -> str:
    cut = plan["scope"]["cut"]
    scope = {"stem": "full", "head": "head"}.get(cut, f"from {cut}")
    return f"{scope}, {plan['input_px']} px, batch {plan['batch']} by {plan['micro_batch']}"


def megabytes(size_bytes: int | None) -> str:
    """Return decimal megabytes, or a dash."""
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.0f} MB"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
