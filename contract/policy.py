"""What an operator wants of the boxes that a selector names."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import ByteCount, Fraction, Labels, Milliseconds, Name, OperatorInput
from contract.rules import RuleFields

Objective = Literal[
    "max_accuracy", "min_train_bytes", "min_train_seconds", "min_latency", "min_artifact_bytes"
]
Fallback = Literal["never", "nothing_fits", "on_failure", "low_confidence"]
"""When the cloud may be asked; each word includes the ones before it."""


class PolicyBody(RuleFields, OperatorInput):
    """One version of a policy.

    ``selector``: a box matches when it carries every label named; the empty selector matches all.
    Of several matching policies the highest ``priority`` wins, then the most specific, then the
    name. ``accuracy_floor`` is compared with the *lower* bound of a point. ``objective`` is an
    order: points are compared by the first word, then by the next; accuracies closer than
    ``accuracy_step`` count as equal there. A running box switches within a release only when
    accuracy grows by more than ``hysteresis`` or its point no longer fits. What a box decides by
    itself is said by the fields of ``contract.rules``.
    """

    selector: Labels = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    accuracy_floor: Fraction = 0.5
    budget_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    reserve_bytes: ByteCount = 268_435_456
    max_latency_ms: Milliseconds | None = None
    max_artifact_bytes: ByteCount | None = None
    objective: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=5)] = (
        "max_accuracy",
        "min_train_seconds",
        "min_train_bytes",
    )
    accuracy_step: Annotated[float, Field(gt=0.0, le=0.5)] = 0.005
    hysteresis: Fraction = 0.01
    fallback: Fallback = "nothing_fits"
    images_may_leave: bool = False

    @model_validator(mode="after")
    def _low_confidence_has_one_promise(self) -> Self:
        promises = [p for p in (self.max_risk, self.max_offload) if p is not None]
        if self.fallback == "low_confidence" and len(promises) != 1:
            message = "the fallback low_confidence needs either max_risk or max_offload"
            raise ValueError(message)
        if self.fallback != "low_confidence" and promises:
            message = "max_risk and max_offload need the fallback low_confidence"
            raise ValueError(message)
        return self


class PolicyCreate(PolicyBody):
    """A new policy: a body and the name it is known by."""

    name: Name
