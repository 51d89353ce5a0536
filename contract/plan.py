"""One way to train one network: what trains, and how.

A scope is only ever a prefix cut: everything before the named block is frozen, contiguous from
the input. Bias-only or scattered scopes save no activations (measured), so they cannot be said.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contract.base import Message, Name

Optimiser = Literal["sgd", "adam"]

HEAD = "head"
FULL = "stem"


class Scope(Message):
    """``cut`` is the first block that trains: ``head`` (least memory) ... ``stem`` (everything)."""

    cut: Name

    @property
    def title(self) -> str:
        """The word people read: ``full``, ``head``, or ``from <block>``."""
        return {FULL: "full", HEAD: "head"}.get(self.cut, f"from {self.cut}")


class Plan(Message):
    """A training plan. BatchNorm statistics stay frozen under every plan (gamma and beta train).

    ``batch`` images make one optimiser step; they pass through the graph ``micro_batch`` at a
    time and their gradients are summed, which is exact because the statistics are frozen.
    """

    scope: Scope
    input_px: Annotated[int, Field(ge=32, le=512)]
    batch: Annotated[int, Field(ge=1, le=1024)]
    micro_batch: Annotated[int, Field(ge=1, le=1024)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    optimiser: Optimiser
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)]
    precision: Literal["float32"] = "float32"
    recompute: bool = False

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        if self.batch % self.micro_batch:
            message = "batch must be a multiple of micro_batch"
            raise ValueError(message)
        return self

    @property
    def title(self) -> str:
        """What the table prints, such as ``full 128px b32/8``."""
        return f"{self.scope.title} {self.input_px}px b{self.batch}/{self.micro_batch}"
