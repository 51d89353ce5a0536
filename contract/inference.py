"""A prediction, made on the box or in the cloud."""

from typing import Annotated, Literal

from pydantic import Field

from contract.base import Fraction, Label, Message, Milliseconds


class Prediction(Message):
    """``probabilities`` holds one value per class, summing to 1; ``label`` is the largest."""

    label: Label
    probabilities: dict[Label, Fraction]
    variant: Label
    release_number: Annotated[int, Field(ge=0)]
    latency_ms: Milliseconds
    source: Literal["device", "cloud"]
