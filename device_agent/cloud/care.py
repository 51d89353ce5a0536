"""What the predictor is handed besides models: the cloud, thresholds, the audit and who counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from contract.inference import Prediction
from contract.rules import BoxRules
from device_agent.cloud.calibrate import Calibration
from device_agent.disk.shelf import Manifest

Threshold = Callable[[Manifest, BoxRules], Calibration | None]
Sample = Callable[[bytes, Prediction, float], bool]


class Cloud(Protocol):
    """Answers within ``deadline_s`` or raises AgentError; see ``device_agent.cloud.cloud_line``.

    ``patient`` says that there is no answer without the cloud.
    """

    def __call__(self, image: bytes, *, deadline_s: float, patient: bool) -> Prediction: ...

    def close(self) -> None: ...


class Witness(Protocol):
    """Counts what a prediction alone does not tell; see ``device_agent.cloud.summary``."""

    def note_overruled(self, prediction: Prediction) -> None: ...

    def note_audited(self) -> None: ...


class Nobody:
    """A witness that counts nothing."""

    def note_overruled(self, prediction: Prediction) -> None: ...

    def note_audited(self) -> None: ...


def _promises_nothing(manifest: Manifest, rules: BoxRules) -> None:  # noqa: ARG001 - the default
    return None


def _keeps_nothing(image: bytes, prediction: Prediction, share: float) -> bool:  # noqa: ARG001 - the default
    return False


@dataclass(frozen=True, kw_only=True)
class Care:
    """What is done around an answer.

    ``threshold`` says how sure a model must be under the rules (None: they promise nothing);
    ``sample`` may keep an image for a person on the box and says whether it did.
    """

    threshold: Threshold = _promises_nothing
    sample: Sample = _keeps_nothing
    witness: Witness = field(default_factory=Nobody)
