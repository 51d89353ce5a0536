"""A prediction, made on the box or in the cloud."""

from typing import Literal

from contract.base import Fraction, Label, Message, Milliseconds, VersionOrNone

WhyCloud = Literal["nothing_fits", "on_failure", "low_confidence"]


class Prediction(Message):
    """``probabilities`` holds one value per class, summing to 1; ``label`` is the largest.

    ``why_cloud`` says what made the box ask the cloud; None where it answered itself.
    """

    label: Label
    probabilities: dict[Label, Fraction]
    variant: Label
    release_number: VersionOrNone
    latency_ms: Milliseconds
    source: Literal["device", "cloud"]
    why_cloud: WhyCloud | None = None
