"""What a box decides by itself between two polls: when to send, to audit and to train again.

An operator writes these fields in a policy; a box receives them with its desired state. Every one
has a default, so that a box and a server of different ages understand each other.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from contract.base import Fraction, Message, Milliseconds, Positive

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class TrainingWindow(Message):
    """A stretch of the week in UTC; it may run past midnight and belongs to the day it starts."""

    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)] = WEEKDAYS
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    minutes: Annotated[int, Field(ge=1, le=1440)]


class RuleFields(BaseModel):
    """The fields, once for the policy and once for the wire.

    Under the fallback ``low_confidence`` exactly one of two promises is kept. ``max_risk``: of the
    images that the box answers itself, at most this share is wrong, with ``risk_confidence``.
    ``max_offload``: at most this share of the images is sent. ``cloud_deadline_ms`` is all the
    time that the cloud may take from a line. ``audit_share`` of the images is kept on the box, at
    random, for a person to look at.

    A box trains again by itself after ``retrain_after_labels`` new labels, on drift, or after
    ``retrain_every_days``, whichever comes first (None and False: never for that reason), not
    within ``retrain_cooldown_hours`` of the last time, and only within ``training_windows`` (none:
    at any time).
    """

    max_risk: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    risk_confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.9
    max_offload: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    cloud_deadline_ms: Annotated[Milliseconds, Field(ge=10.0, le=60_000.0)] = 2000.0
    audit_share: Annotated[Fraction, Field(le=0.5)] = 0.01
    retrain_after_labels: Positive | None = None
    retrain_on_drift: bool = False
    retrain_every_days: Annotated[float, Field(gt=0.0, le=3650.0)] | None = None
    retrain_cooldown_hours: Annotated[float, Field(ge=0.0, le=8760.0)] = 24.0
    training_windows: Annotated[tuple[TrainingWindow, ...], Field(max_length=16)] = ()


class BoxRules(RuleFields, Message):
    """The rules as a box receives them: fields it does not know are ignored."""


def rules_of(fields: RuleFields) -> BoxRules:
    """Return the rules that a policy states."""
    return BoxRules.model_validate(
        {name: getattr(fields, name) for name in RuleFields.model_fields}
    )
