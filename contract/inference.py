"""A prediction, made on the box or in the cloud."""

from typing import Literal

from contract.base import Fraction, Label, Message, Milliseconds, VersionOrNone


class Prediction(Message):
    """``probabilities`` holds one value per class, summing to 1; ``label`` is the largest."""

    label: Label
    probabilities: dict[Label, Fraction]
    variant: Label
    release_number: VersionOrNone
    latency_ms: Milliseconds
    source: Literal["device", "cloud"]
