"""The answer to a poll: what a box should be."""

from typing import Literal

from contract.base import (
    ByteCount,
    Fraction,
    Generation,
    Label,
    Message,
    Text,
    VersionOrNone,
)
from contract.decision import Action
from contract.measurement import FrontierPoint
from contract.policy import Fallback
from contract.release import Variant
from contract.rules import BoxRules

NEXT_POLL_HEADER = "Paretofleet-Next-Poll-S"


class Assignment(Message):
    """The network and plan to train. ``budget_bytes`` is what the server reckoned with."""

    point: FrontierPoint
    variant: Variant
    budget_bytes: ByteCount


class DesiredState(Message):
    """Computed at poll time. ``generation`` grows whenever the rest changes; the ETag names it.

    ``assignment`` is present exactly when ``action`` is ``train``.
    """

    schema_version: Literal[1] = 1
    generation: Generation
    action: Action
    release_number: VersionOrNone
    decision_id: Label | None
    assignment: Assignment | None
    accuracy_floor: Fraction
    fallback: Fallback
    images_may_leave: bool
    rules: BoxRules = BoxRules()
    why: Text
    next_better: Text
