"""Predictions: the active model here, else the last known good, else the cloud where allowed.

Thread-safe. A new active model is picked up at the next prediction by reading the ``active`` link;
requests under way keep the model that they began with. A model that fails is set aside for a
while, then asked again: a passing trouble must not silence it until the next restart.
"""

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from contract.desired import DesiredState
from contract.inference import Prediction
from device_agent.errors import AgentError, BadImageError, NoPredictionError
from device_agent.images import decode
from device_agent.privacy import may_ask_cloud, why_not
from device_agent.runtime import Session, open_session
from device_agent.shelf import Manifest, Shelf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()
Cloud = Callable[[bytes], Prediction]
Open = Callable[[Path], Session]


_RETRY_FIRST_S = 30.0
_RETRY_LONGEST_S = 3600.0


class ModelFailedError(AgentError):
    """The runtime refused the model or its answer makes no sense."""

    name = "model_failed"


class SetAsideError(ModelFailedError):
    """The model failed a short while ago; it was not asked again."""


@dataclass(frozen=True)
class SetAside:
    """A model that failed ``failures`` times in a row and is asked again at ``retry_at_s``."""

    failures: int
    retry_at_s: float

    @classmethod
    def after(cls, failures: int, now_s: float) -> "SetAside":
        """Double the pause with every failure: 30 s at first, an hour at most."""
        pause_s = min(_RETRY_FIRST_S * 2 ** min(failures - 1, 16), _RETRY_LONGEST_S)
        return cls(failures, now_s + pause_s)


@dataclass(frozen=True)
class LocalModel:
    """A verified model, ready to answer."""

    manifest: Manifest
    session: Session

    def predict(self, image: bytes) -> Prediction:
        """Return the prediction; raises BadImageError, ModelFailedError."""
        start = time.perf_counter()
        batch = decode(image, self.manifest.input_px, self.manifest.in_channels)
        try:
            logits = self.session.run(["logits"], {"images": batch})[0][0]
        except Exception as exc:
            message = f"the model {self.manifest.model_id} failed: {exc}"
            raise ModelFailedError(message) from exc
        chances = dict(zip(self.manifest.classes, probabilities(logits), strict=True))
        return Prediction(
            label=max(chances, key=lambda name: chances[name]),
            probabilities=chances,
            variant=self.manifest.variant,
            release_number=self.manifest.release_number,
            latency_ms=(time.perf_counter() - start) * 1000,
            source="device",
        )


def warm_up(model: LocalModel) -> None:
    """Run a blank image, so that imports and first-run costs are not counted as latency."""
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG")
    model.predict(stream.getvalue())


def probabilities(logits: "NDArray[np.float32]") -> list[float]:
    """Return one value per class, summing to 1; a single logit speaks for the second class."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    values = np.asarray(logits, dtype=np.float64).reshape(-1)
    if not np.isfinite(values).all():
        message = "the model answered with numbers that are not finite"
        raise ModelFailedError(message)
    if values.size == 1:
        values = np.array([0.0, values[0]])
    powers = np.exp(values - values.max())
    return [float(share) for share in powers / powers.sum()]


class Predictor:
    """``cloud`` sends an image to the server; ``desired`` says what the policy allows now."""

    def __init__(
        self,
        shelf: Shelf,
        desired: Callable[[], DesiredState | None],
        cloud: Cloud,
        open_model: Open = open_session,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._desired = desired
        self._cloud = cloud
        self._open = open_model
        self._lock = threading.Lock()
        self._loaded: LocalModel | None = None
        self._monotonic = monotonic
        self._set_aside: dict[str, SetAside] = {}

    def predict(self, image: bytes) -> Prediction:
        """Answer, or raise BadImageError or NoPredictionError with every reason."""
        desired = self._desired()
        troubles: list[str] = []
        cloud_first = desired is not None and desired.action == "cloud"
        if cloud_first and may_ask_cloud(desired, local_failed=False):
            answer = self._ask_cloud(image, troubles) or self._ask_models(image, troubles)
        else:
            answer = self._ask_models(image, troubles)
            if answer is None and may_ask_cloud(desired, local_failed=True):
                answer = self._ask_cloud(image, troubles)
            elif answer is None:
                troubles.append(why_not(desired))
        if answer is None:
            raise NoPredictionError("; ".join(troubles))
        return answer

    def _ask_models(self, image: bytes, troubles: list[str]) -> Prediction | None:
        candidates = self._shelf.candidates()
        if not candidates:
            troubles.append("no model is active")
        for model_id in candidates:
            try:
                answer = self._model(model_id).predict(image)
            except BadImageError:
                raise
            except SetAsideError as exc:
                troubles.append(str(exc))
            except AgentError as exc:
                troubles.append(str(exc))
                self._put_aside(model_id, str(exc))
            else:
                self._set_aside.pop(model_id, None)
                return answer
        return None

    def _ask_cloud(self, image: bytes, troubles: list[str]) -> Prediction | None:
        try:
            return self._cloud(image)
        except AgentError as exc:
            troubles.append(f"the cloud: {exc}")
            return None

    def _model(self, model_id: str) -> LocalModel:
        with self._lock:
            if self._rests(model_id):
                message = f"the model {model_id} is set aside for a while: it failed before"
                raise SetAsideError(message)
            loaded = self._loaded
            if loaded is None or loaded.manifest.model_id != model_id:
                loaded = self._load(model_id)
                self._loaded = loaded
            return loaded

    def _load(self, model_id: str) -> LocalModel:
        manifest, path = self._shelf.verified(model_id)
        try:
            model = LocalModel(manifest, self._open(path))
            warm_up(model)
        except Exception as exc:
            message = f"the model {model_id} cannot be loaded: {exc}"
            raise ModelFailedError(message) from exc
        return model

    def _rests(self, model_id: str) -> bool:
        known = self._set_aside.get(model_id)
        return known is not None and self._monotonic() < known.retry_at_s

    def _put_aside(self, model_id: str, why: str) -> None:
        with self._lock:
            if self._rests(model_id):
                return
            known = self._set_aside.get(model_id)
            failures = known.failures + 1 if known else 1
            self._set_aside[model_id] = SetAside.after(failures, self._monotonic())
            log.error("model_set_aside", model_id=model_id, failures=failures, reason=why[:300])
            if self._loaded is not None and self._loaded.manifest.model_id == model_id:
                self._loaded = None
