"""Predictions: the active model here, else the last known good, else the cloud where allowed.

Under the fallback ``low_confidence`` the cloud is asked about a doubtful answer too, which stands
where the cloud says nothing in time.

Thread-safe. A new active model is picked up at the next prediction by reading the ``active`` link;
requests under way keep the model that they began with. A model that fails is set aside for a
while, then asked again: a passing trouble must not silence it until the next restart.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from contract.desired import DesiredState
from contract.inference import Prediction, WhyCloud
from contract.rules import BoxRules
from device_agent.cloud.care import Care, Cloud
from device_agent.cloud.privacy import Here, why_cloud, why_not
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.errors import AgentError, ArtifactError, BadImageError, NoPredictionError
from device_agent.serving.images import decode
from device_agent.serving.runtime import Session, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = structlog.get_logger()
Open = Callable[[Path], Session]
Done = TypeVar("Done")


OnFailure = Callable[[str, int, str], None]
"""Told a model's id, how many times in a row it has failed, and why."""


def _ignore(model_id: str, failures: int, why: str) -> None:  # noqa: ARG001 - the seam's default
    return


_MOST_LOOKS = 5
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


@dataclass(frozen=True)
class Local:
    """An answer of this box, and the model that gave it."""

    manifest: Manifest
    prediction: Prediction


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

    def __init__(  # noqa: PLR0913 - the seams that tests fill
        self,
        shelf: Shelf,
        desired: Callable[[], DesiredState | None],
        cloud: Cloud,
        open_model: Open = open_session,
        monotonic: Callable[[], float] = time.monotonic,
        on_failure: OnFailure = _ignore,
        *,
        care: Care | None = None,
    ) -> None:
        self._care = care or Care()
        self._on_failure = on_failure
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
        answer = self._answer(image, desired, troubles)
        if answer is None:
            raise NoPredictionError("; ".join(troubles))
        if desired is not None and self._care.sample(image, answer, desired.rules.audit_share):
            self._care.witness.note_audited()
        return answer

    def _answer(
        self, image: bytes, desired: DesiredState | None, troubles: list[str]
    ) -> Prediction | None:
        local, why = None, why_cloud(desired, "unasked")
        if why is None:
            local = self._ask_models(image, troubles)
            why = why_cloud(desired, self._standing(local, desired))
        if desired is not None and why is not None:
            return self._ask_further(image, desired.rules, troubles, why, local)
        if local is None:
            troubles.append(why_not(desired))
            return None
        return local.prediction

    def _ask_further(
        self,
        image: bytes,
        rules: BoxRules,
        troubles: list[str],
        why: WhyCloud,
        local: Local | None,
    ) -> Prediction | None:
        """Ask the cloud; where it says nothing the answer of this box stands."""
        start = time.perf_counter()
        spent_ms = local.prediction.latency_ms if local else 0.0
        helpless = local is None and not (why == "nothing_fits" and self._shelf.candidates())
        answer = self._ask_cloud(image, rules, troubles, patient=helpless)
        spent_ms += (time.perf_counter() - start) * 1000
        if answer is not None:
            if local is not None:
                self._care.witness.note_overruled(local.prediction)
            facts = {"why_cloud": why, "source": "cloud", "latency_ms": spent_ms}
            return answer.model_copy(update=facts)
        if local is not None:
            return local.prediction.model_copy(update={"latency_ms": spent_ms})
        local = self._ask_models(image, troubles) if why == "nothing_fits" else None
        return local.prediction if local else None

    def _standing(self, local: Local | None, desired: DesiredState | None) -> Here:
        if local is None:
            return "failed"
        if desired is None or why_cloud(desired, "unsure") is None:
            return "sure"
        needed = self._care.threshold(local.manifest, desired.rules)
        sureness = max(local.prediction.probabilities.values())
        return "sure" if needed is None or needed.trusts(sureness) else "unsure"

    def locally(self, work: Callable[[LocalModel], Done], model_id: str | None = None) -> Done:
        """Let a model of this box do ``work``: the named one, else the first that is able.

        The cloud is never asked. A model is set aside when ``work`` raises ModelFailedError. Raises
        NoPredictionError with every reason, and whatever else ``work`` raises.
        """
        troubles: list[str] = []
        for candidate in [model_id] if model_id else self._shelf.candidates():
            try:
                done = work(self._model(candidate))
            except SetAsideError as exc:
                troubles.append(str(exc))
            except (ModelFailedError, ArtifactError) as exc:
                troubles.append(str(exc))
                self._put_aside(candidate, str(exc))
            else:
                self._set_aside.pop(candidate, None)
                return done
        raise NoPredictionError("; ".join(troubles) or "no model is active")

    def close(self) -> None:
        """Let go of the connection to the cloud."""
        self._cloud.close()

    def reopen(self) -> None:
        """Open the model anew at the next prediction: a better way to run it was found."""
        with self._lock:
            self._loaded = None

    def served(self) -> list[Manifest]:
        """Return what this box can answer by, best first; what cannot be read is left out."""
        manifests = []
        for model_id in self._shelf.candidates():
            with contextlib.suppress(ArtifactError):
                manifests.append(self._shelf.manifest(model_id))
        return manifests

    def _ask_models(self, image: bytes, troubles: list[str]) -> Local | None:
        """Return the first answer; look again where the models were replaced meanwhile."""
        candidates = self._shelf.candidates()
        if not candidates:
            troubles.append("no model is active")
        for _ in range(_MOST_LOOKS):
            answer = self._ask_these(candidates, image, troubles)
            asked, candidates = candidates, self._shelf.candidates()
            if answer is not None or candidates == asked:
                return answer
        return None

    def _ask_these(self, candidates: list[str], image: bytes, troubles: list[str]) -> Local | None:
        for model_id in candidates:
            try:
                model = self._model(model_id)
                answer = model.predict(image)
            except BadImageError:
                raise
            except SetAsideError as exc:
                troubles.append(str(exc))
            except AgentError as exc:
                troubles.append(str(exc))
                self._put_aside(model_id, str(exc))
            else:
                self._set_aside.pop(model_id, None)
                return Local(model.manifest, answer)
        return None

    def _ask_cloud(
        self, image: bytes, rules: BoxRules, troubles: list[str], *, patient: bool
    ) -> Prediction | None:
        deadline_s = rules.cloud_deadline_ms / 1000
        try:
            return self._cloud(image, deadline_s=deadline_s, patient=patient)
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
        self._on_failure(model_id, failures, why)
