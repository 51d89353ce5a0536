"""What a training's end means: go on, report, or try again later. Pure."""

import math
from typing import Literal

from contract.base import Message
from contract.finetune import (
    EXIT_BAD_INPUT,
    EXIT_DISK_FULL,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_OVER_CAP,
    FinetuneResult,
)
from contract.report import OutcomeBody, OutcomeStatus
from device_agent.sizes import format_size
from device_agent.training.trainer import TrainerRun

MOST_TEXT = 1_900


class TrainingEnd(Message):
    """What to do.

    ``go_on`` with the result; ``report`` it as ``status``; ``retry`` as the box sees fit; ``later``
    when others have let go of the box's memory; ``data`` and ``disk`` are troubles of the box that
    a person must mend; ``stopped``.
    """

    kind: Literal["go_on", "report", "retry", "later", "data", "disk", "stopped"]
    status: OutcomeStatus | None = None
    text: str = ""


def judge_run(run: TrainerRun, cap_bytes: int) -> TrainingEnd:
    """Map how the child ended to what to do.

    Numbers that went bad will do so again: the point is ``refused``. A crash may not: ``retry``.
    One that the box starved is no fault of the plan: ``later``.
    """
    if run.ending == "over_cap" or (run.ending == "exited" and run.returncode == EXIT_OVER_CAP):
        return _over_cap(run, cap_bytes)
    if run.ending != "exited":
        return _ended(run)
    reason = run.result.reason if run.result else _hint(run)
    known: dict[int, TrainingEnd] = {
        EXIT_BAD_INPUT: TrainingEnd(kind="data", text=reason),
        EXIT_DIVERGED: TrainingEnd(kind="report", status="refused", text=reason),
        EXIT_DISK_FULL: TrainingEnd(kind="disk", text=reason),
    }
    if run.returncode in known:
        return known[run.returncode]
    if run.returncode == EXIT_DONE and run.result is not None and run.result.status == "done":
        return TrainingEnd(kind="go_on")
    return TrainingEnd(kind="retry", text=_crash_text(run))


def _over_cap(run: TrainerRun, cap_bytes: int) -> TrainingEnd:
    text = (
        f"the trainer reached {format_size(seen_peak_bytes(run, cap_bytes))} "
        f"and was ended at its cap of {format_size(cap_bytes)}. "
        f"{run.result.reason if run.result else _hint(run)}"
    )
    return TrainingEnd(kind="report", status="over_cap", text=text)


def seen_peak_bytes(run: TrainerRun, cap_bytes: int) -> int:
    """Return the peak to report: of a run that broke its cap, never less than just above the cap.

    The kernel and the child's own limit stop it *at* the cap; what it wanted was more.
    """
    broke = run.ending == "over_cap" or run.returncode == EXIT_OVER_CAP
    return max(run.peak_rss_bytes, cap_bytes + 1) if broke else run.peak_rss_bytes


def _ended(run: TrainerRun) -> TrainingEnd:
    """Return the meaning of an end that the trainer did not choose itself."""
    if run.ending == "stopped":
        return TrainingEnd(kind="stopped")
    if run.ending == "starved":
        return TrainingEnd(kind="later", text=_starved_text(run))
    return TrainingEnd(kind="retry", text=f"the trainer was ended: {run.ending}. {_hint(run)}")


def _starved_text(run: TrainerRun) -> str:
    took = format_size(run.peak_rss_bytes)
    return (
        f"the box had no memory left for a trainer that took {took} and kept its cap: "
        f"other programs hold it. {_hint(run)}"
    )


def _crash_text(run: TrainerRun) -> str:
    if run.returncode == EXIT_DONE:
        return f"the trainer said it was done but left no result to believe. {_hint(run)}"
    if run.returncode < 0:
        return f"the trainer was killed by signal {-run.returncode}. {_hint(run)}"
    return f"the trainer ended with code {run.returncode}. {_hint(run)}"


def _hint(run: TrainerRun) -> str:
    return f"Its last words: {run.log_tail[-400:]}" if run.log_tail else "It said nothing."


class Verdict(Message):
    """Whether a trained model may become active."""

    accepted: bool
    status: OutcomeStatus
    text: str


def judge_result(result: FinetuneResult, floor: float, active_accuracy: float | None) -> Verdict:
    """Compare with the floor and with the active model.

    ``active_accuracy`` is None where that was judged by other images or is of another release.
    """
    after = result.balanced_accuracy_after
    if after is None or not math.isfinite(after) or not 0 <= after <= 1:
        return Verdict(accepted=False, status="refused", text="the trainer measured no accuracy")
    seen = f"balanced accuracy {after:.3f} on {result.n_test} held-back images"
    if after < floor:
        text = f"{seen} is under the floor of {floor:.3f}; the model before it stays"
        return Verdict(accepted=False, status="below_floor", text=text)
    if active_accuracy is not None and after < active_accuracy:
        text = f"{seen} is worse than the active model's {active_accuracy:.3f}; it stays"
        return Verdict(accepted=False, status="refused", text=text)
    return Verdict(accepted=True, status="activated", text=f"{seen} meets the floor of {floor:.3f}")


def outcome_body(
    base: OutcomeBody, result: FinetuneResult | None, run: TrainerRun | None, cap_bytes: int | None
) -> OutcomeBody:
    """Fill an outcome with what was measured."""
    facts: dict[str, object] = {"cap_bytes": cap_bytes, "reason": base.reason[:MOST_TEXT]}
    if result is not None:
        facts |= {
            "balanced_accuracy_before": _fraction(result.balanced_accuracy_before),
            "balanced_accuracy_after": _fraction(result.balanced_accuracy_after),
            "n_train": result.n_train,
            "n_test": result.n_test,
            "peak_rss_bytes": result.peak_rss_bytes,
            "peak_anonymous_bytes": result.peak_anonymous_bytes,
            "floor_bytes": result.floor_bytes,
            "seconds": result.seconds,
            "model_sha256": result.model_sha256,
        }
    if run is not None:
        facts |= {
            "peak_rss_bytes": seen_peak_bytes(run, cap_bytes or 0),
            "peak_anonymous_bytes": run.peak_anonymous_bytes,
            "cap_kinds": run.cap_kinds,
            "seconds": run.seconds,
        }
    return OutcomeBody.model_validate(base.model_dump() | facts)


def _fraction(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None
