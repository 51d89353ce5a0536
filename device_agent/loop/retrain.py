"""When a box trains again by itself: enough new labels, drift, or age, within limits. Pure.

The clock of a box may jump. A training that lies in the future counts as one that ended now
(``in_the_past``), so a clock that was set back never puts the next training off for longer than
one cool-down or one period; one that jumped ahead makes at most one training too early. Nothing
is added to a time that could leave the calendar.

New labels are counted, not looked at: as many as the folder holds more than at the last training.
Images that were replaced one for one are no new labels.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field

from contract.base import Count, Message, Text, Utc
from contract.finetune import FinetuneResult
from contract.rules import WEEKDAYS, BoxRules, TrainingWindow

_DAY_MINUTES = 1440
_WEEK_MINUTES = 7 * _DAY_MINUTES
_LAST = datetime.max.replace(tzinfo=UTC)


class TrainingFacts(Message):
    """What the rules are held against.

    ``trained_images`` is how many labelled images the last training saw; None where no training on
    this box has told yet.
    """

    trained_at: Utc
    trained_images: Count | None
    labelled_images: Annotated[tuple[Count, Count], Field(description="ok, defect")]
    drifted: bool = False


class Due(Message):
    """Train again now, and why."""

    reason: Text


class NotDue(Message):
    """Not now, why not, and from when on that may change by itself (None: not by time alone)."""

    reason: Text
    next_at: Utc | None = None


def due(rules: BoxRules, facts: TrainingFacts, now: datetime) -> Due | NotDue:
    """Return whether to train again; of several reasons the first in the order of the rules."""
    if 0 in facts.labelled_images:
        return NotDue(reason="a class has no labelled images")
    then = in_the_past(facts.trained_at, now)
    reason = _why(rules, facts, now - then)
    if reason is None:
        return NotDue(reason="nothing calls for another training", next_at=_of_age(rules, then))
    cooldown = timedelta(hours=rules.retrain_cooldown_hours)
    if now - then < cooldown:
        cooling = f"{reason}, but it cools down for {rules.retrain_cooldown_hours:g} h"
        return NotDue(reason=cooling, next_at=_later(then, cooldown))
    if not is_open(rules.training_windows, now):
        opens_at = next_open(rules.training_windows, now)
        return NotDue(reason=f"{reason}, but {closed_text(opens_at)}", next_at=opens_at)
    return Due(reason=reason)


def in_the_past(then: datetime, now: datetime) -> datetime:
    """Return ``then``, or now where that would lie in the future."""
    return min(then, now)


def _why(rules: BoxRules, facts: TrainingFacts, age: timedelta) -> str | None:
    n_new = new_labels(facts)
    wanted = rules.retrain_after_labels
    if wanted is not None and n_new >= wanted:
        return f"{n_new} new labelled images (the policy asks for {wanted})"
    if rules.retrain_on_drift and facts.drifted:
        return "the images no longer look like those that were trained on"
    days = rules.retrain_every_days
    if days is not None and age >= timedelta(days=days):
        return f"the last training is {age / timedelta(days=1):.1f} days old (at most {days:g})"
    return None


def new_labels(facts: TrainingFacts) -> int:
    """Return how many labelled images there are more than at the last training."""
    if facts.trained_images is None:
        return 0
    return max(0, sum(facts.labelled_images) - facts.trained_images)


def _of_age(rules: BoxRules, then: datetime) -> datetime | None:
    days = rules.retrain_every_days
    return None if days is None else _later(then, timedelta(days=days))


def _later(then: datetime, wait: timedelta) -> datetime:
    """Return ``then + wait``, or the calendar's end where that lies beyond it."""
    return then + wait if wait <= _LAST - then else _LAST


def is_open(windows: Sequence[TrainingWindow], now: datetime) -> bool:
    """Return whether ``now`` lies in a window (its first minute does, its end does not)."""
    if not windows:
        return True
    minute = _minute_of_week(now)
    return any(
        (minute - start) % _WEEK_MINUTES < window.minutes
        for window in windows
        for start in _starts(window)
    )


def next_open(windows: Sequence[TrainingWindow], now: datetime) -> datetime:
    """Return when the next window starts, which is after ``now`` where none is open."""
    minute = _minute_of_week(now)
    waits = [(start - minute) % _WEEK_MINUTES for window in windows for start in _starts(window)]
    this_minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    return _later(this_minute, timedelta(minutes=min(waits, default=0)))


def closed_text(opens_at: datetime) -> str:
    """Say when training is allowed again."""
    return f"training waits for the window that opens on {opens_at:%Y-%m-%d at %H:%M} UTC"


def _minute_of_week(now: datetime) -> int:
    utc = now.astimezone(UTC)
    return utc.weekday() * _DAY_MINUTES + utc.hour * 60 + utc.minute


def _starts(window: TrainingWindow) -> list[int]:
    hour, minute = window.start.split(":")
    of_day = int(hour) * 60 + int(minute)
    return [WEEKDAYS.index(day) * _DAY_MINUTES + of_day for day in window.weekdays]


def outlasts(result: FinetuneResult, floor: float) -> bool:
    """Return whether the model in use stays: it meets the floor and the new one is no match.

    Both were scored on the same held-back images, which neither was trained on; a tie goes to the
    new one, which knows the newer images. A model that is under the floor now gives way to one
    that meets it. Without a score of the model in use nothing speaks for it.
    """
    rival, ours = result.balanced_accuracy_rival, result.balanced_accuracy_against_rival
    if rival is None or ours is None or not rival >= floor:
        return False
    after = result.balanced_accuracy_after
    return not ours >= rival or after is None or not after >= floor


def outlasting_text(result: FinetuneResult) -> str:
    """Say by which figures the model in use stays."""
    return (
        f"the model in use reaches {result.balanced_accuracy_rival:.3f} and the newly trained one "
        f"{result.balanced_accuracy_against_rival:.3f} on the same {result.n_rival} held-back "
        "images; the one in use stays"
    )
