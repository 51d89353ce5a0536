"""What the server decided for a box, and for every point why or why not."""

from typing import Literal

from contract.base import (
    ByteCount,
    Fraction,
    Label,
    Message,
    Milliseconds,
    Name,
    Text,
    Utc,
    Version,
)
from contract.device import Budget
from contract.measurement import FrontierPoint

Constraint = Literal[
    "missing_measurement",
    "memory",
    "accuracy_floor",
    "latency",
    "artifact_size",
    "disk",
    "runtime",
    "failed_on_this_device",
]
Action = Literal["train", "cloud", "idle"]


class Failure(Message):
    """A constraint that a point failed: ``needed`` against ``allowed``, both in ``unit``."""

    constraint: Constraint
    needed: float | None
    allowed: float | None
    unit: Label
    text: Text


class Verdict(Message):
    """One point's verdict: fits (empty ``failures``), dominated by another that fits, or chosen."""

    point_key: Label
    variant: Name
    plan_title: Label
    accuracy_lower: Fraction | None
    peak_bytes: ByteCount | None
    latency_ms: Milliseconds | None
    failures: tuple[Failure, ...]
    dominated_by: Label | None = None
    chosen: bool = False
    text: Text


class Observation(Message):
    """What this very box saw of a point: it overrides the lab's figures for this box.

    ``failed_permanently`` marks a point that this box cannot run (crashed, refused).
    """

    point_key: Label
    peak_bytes: ByteCount | None = None
    balanced_accuracy: Fraction | None = None
    failed_permanently: bool = False


class Decision(Message):
    """The chosen point or, when nothing fits, the nearest miss. Append-only.

    ``why`` is one sentence for people; ``next_better`` says why the best point that did not fit
    was not taken.
    """

    action: Action
    release_number: Version
    policy_name: Name
    policy_version: Version
    budget: Budget
    chosen: FrontierPoint | None
    verdicts: tuple[Verdict, ...]
    why: Text
    next_better: Text
    decided_at: Utc
