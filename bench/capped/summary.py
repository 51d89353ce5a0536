"""The figures of ``bench/caps.py`` over the lines of its runs. Pure."""

import collections
from typing import Any

from device_agent.training.watchdog import INTERVAL_S


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures over all runs."""
    over = [line for line in lines if line["stretches"]]
    statuses = collections.Counter(ending(line) for line in lines)
    kinds = collections.Counter(
        "+".join(o["cap_kinds"]) for line in lines for o in line["outcomes"] if o.get("cap_kinds")
    )
    kept = [line for line in lines if line["step"] == "active"]
    return {
        "runs": len(lines),
        "agent_deaths": sum(line["died"] for line in lines),
        "predictions_asked": sum(line["asked"] for line in lines),
        "predictions_failed": sum(line["unanswered"] for line in lines),
        "slowest_prediction_ms": max((line["slowest_ms"] for line in lines), default=0),
        "trainers_started": sum(line["trainers"] for line in lines),
        "runs_over_the_cap": len(over),
        "stretches_over_the_cap": sum(line["stretches"] for line in lines),
        "longest_over_ms_at_least": max((line["over_least_ms"] for line in lines), default=0),
        "longest_over_ms_at_most": max((line["over_most_ms"] for line in lines), default=0),
        "runs_over_for_longer_than_the_period": sum(
            line["over_least_ms"] > 1000 * INTERVAL_S for line in lines
        ),
        "watchdog_period_ms": 1000 * INTERVAL_S,
        "longest_sampler_gap_ms": max((line["longest_gap_ms"] for line in lines), default=0),
        "worst_excess_share": round(
            max((line["peak_bytes"] / line["budget_bytes"] - 1 for line in over), default=0), 3
        ),
        "ended_in_a_working_model": len(kept),
        "ended_in_a_stated_reason": sum(bool(reason(line)) for line in lines if line not in kept),
        "ended_in_neither": sum(not reason(line) for line in lines if line not in kept),
        "endings": dict(sorted(statuses.items())),
        "runs_with_a_smaller_micro_batch": sum(bool(line["steps_down"]) for line in lines),
        "steps_to_a_smaller_micro_batch": sum(len(line["steps_down"]) for line in lines),
        "caps_in_force": dict(sorted(kinds.items())),
        "agent_rss_bytes": max((line.get("agent_rss_bytes", 0) for line in lines), default=0),
        "median_seconds": sorted(line["seconds"] for line in lines)[len(lines) // 2],
    }


def ending(line: dict[str, Any]) -> str:
    """Return how a run ended, in a word or two."""
    return str(line["step"]) if not line["error"] else f"{line['step']}: {line['error']}"


def reason(line: dict[str, Any]) -> str:
    """Return what a run without a model said of it: its error, or its last outcome."""
    said = [o["reason"] for o in line["outcomes"] if o.get("reason")]
    return str(line["reason"] or (said[-1] if said else ""))
