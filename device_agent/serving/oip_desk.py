"""The paths of the Open Inference Protocol v2, answered by the predictor.

``/v2``, ``/v2/health/live``, ``/v2/health/ready``, and under ``/v2/models/NAME`` (or
``.../versions/VERSION``) the metadata, ``ready`` and ``infer``. NAME is ``active`` or the id of a
model that this box keeps; a VERSION is the first 12 digits of a model's SHA-256.

Pixels are answered by a model of this box and by nothing else: a tensor never leaves it. Image
files under the name ``active`` go the way of POST /predict, with the policy's fallback and its
privacy rules; under a model's own id they too are answered by that model alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from contract.inference import Prediction
from device_agent.disk.shelf import Manifest
from device_agent.errors import AgentError, BadImageError
from device_agent.serving import oip
from device_agent.serving.answers import Answer, as_json, as_oip_error
from device_agent.serving.batches import batch_for, judge
from device_agent.serving.images import fit
from device_agent.serving.predict import LocalModel, Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ACTIVE = "active"
ROOT = "/v2"
EXTENSIONS = ["binary_tensor_data", "encoded_images"]
_VERSION_DIGITS = 12
_FREE_BYTES = 32_000_000
"""What a batch may take beside the model; two may be under way."""
Note = Callable[[Prediction], None]


class UnknownModelError(AgentError):
    """HTTP 404."""


@dataclass(frozen=True)
class Target:
    """What a path names: ``model_id`` None stands for whatever is active."""

    name: str
    version: str | None
    model_id: str | None
    action: str


@dataclass(frozen=True)
class OipDesk:
    """Answers requests under ``/v2``; ``note`` is told of every prediction."""

    predictor: Predictor
    note: Note

    def get(self, path: str) -> Answer:
        if path == ROOT:
            return as_json(_about())
        if path == f"{ROOT}/health/live":
            return as_json({"live": True})
        if path == f"{ROOT}/health/ready":
            return self._ready(None, live=True)
        try:
            return self._get_model(self._target(path))
        except UnknownModelError as exc:
            return as_oip_error(HTTPStatus.NOT_FOUND, str(exc))

    def _get_model(self, target: Target) -> Answer:
        if target.action == "ready":
            return self._ready(target.model_id, name=target.name)
        if target.action == "infer":
            return as_oip_error(HTTPStatus.METHOD_NOT_ALLOWED, "POST inference requests")
        return as_json(self._about_model(target))

    def infer(self, path: str, body: bytes, json_bytes: int | None) -> Answer:
        try:
            return self._infer(self._target(path), oip.parse(body, json_bytes))
        except UnknownModelError as exc:
            return as_oip_error(HTTPStatus.NOT_FOUND, str(exc))
        except BadImageError as exc:
            return as_oip_error(HTTPStatus.BAD_REQUEST, str(exc))
        except AgentError as exc:
            return as_oip_error(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))

    def _target(self, path: str) -> Target:
        """Take a path apart; raises UnknownModelError. Only models that are served have a name."""
        parts = [unquote(part) for part in path.removeprefix(ROOT).strip("/").split("/")]
        if parts[0] != "models" or len(parts) < 2 or len(parts) > 5:  # noqa: PLR2004 - see above
            raise UnknownModelError("there is no such path; the protocol's begin at /v2")
        name, rest = parts[1], parts[2:]
        version = rest[1] if rest[:1] == ["versions"] and len(rest) > 1 else None
        action = "/".join(rest[2:] if version is not None else rest)
        if action not in {"", "ready", "infer"}:
            raise UnknownModelError(f"there is no {action!r} of a model; use ready or infer")
        return Target(name, version, self._model_id(name, version), action)

    def _model_id(self, name: str, version: str | None) -> str | None:
        served = self.predictor.served()
        if name == ACTIVE and version is None:
            return None
        for manifest in served:
            if name in {ACTIVE, manifest.model_id} and version in {None, version_of(manifest)}:
                return manifest.model_id
        known = ", ".join([ACTIVE, *(manifest.model_id for manifest in served)])
        raise UnknownModelError(f"this box serves no such model or version; it serves {known}")

    def _ready(self, model_id: str | None, **said: object) -> Answer:
        try:
            self.predictor.locally(version_of_model, model_id)
        except AgentError as exc:
            unready = HTTPStatus.SERVICE_UNAVAILABLE
            return as_oip_error(unready, str(exc), **said, ready=False)
        return as_json({**said, "ready": True})

    def _about_model(self, target: Target) -> dict[str, Any]:
        served = self.predictor.served()
        wanted = (target.model_id,) if target.model_id else [m.model_id for m in served]
        mine = [manifest for manifest in served if manifest.model_id in wanted]
        if not mine:
            raise UnknownModelError("no model is active")
        return {
            "name": target.name,
            "versions": [version_of(manifest) for manifest in mine],
            "platform": "onnx_onnxv1",
            "inputs": [_tensor(oip.INPUT, "UINT8", -1, -1, -1, mine[0].in_channels)],
            "outputs": [
                _tensor("probabilities", "FP32", -1, len(mine[0].classes)),
                _tensor("label", "BYTES", -1),
                _tensor("classes", "BYTES", len(mine[0].classes)),
                _tensor("source", "BYTES", -1),
            ],
        }

    def _infer(self, target: Target, request: oip.InferRequest) -> Answer:
        if target.action != "infer":
            raise UnknownModelError(f"POST inference requests to {ROOT}/models/NAME/infer")
        if request.pixels is not None:
            version, predictions = self._judge_pixels(target, request.pixels)
        elif target.model_id is not None:
            version, predictions = self._judge_files(target.model_id, request.files)
        else:
            version = None
            predictions = [self.predictor.predict(file) for file in request.files]
        for prediction in predictions:
            self.note(prediction)
        named = oip.Named(target.name, version, _facts(predictions))
        body, json_bytes = oip.render(request, named, predictions)
        if json_bytes is None:
            return Answer(HTTPStatus.OK, body)
        headers = {"Inference-Header-Content-Length": str(json_bytes)}
        return Answer(HTTPStatus.OK, body, "application/octet-stream", headers)

    def _judge_pixels(
        self, target: Target, pixels: "NDArray[np.uint8]"
    ) -> tuple[str, list[Prediction]]:
        return self.predictor.locally(
            lambda model: (version_of_model(model), predict_pixels(model, pixels)), target.model_id
        )

    def _judge_files(self, model_id: str, files: tuple[bytes, ...]) -> tuple[str, list[Prediction]]:
        return self.predictor.locally(
            lambda model: (version_of_model(model), [model.predict(file) for file in files]),
            model_id,
        )


def predict_pixels(model: LocalModel, pixels: "NDArray[np.uint8]") -> list[Prediction]:
    """Return a prediction for each tile of ``pixels`` [n, height, width, 1 or 3]."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    manifest, start = model.manifest, time.perf_counter()
    px, channels = manifest.input_px, manifest.in_channels
    tiles = np.stack([fit(tile, px, channels) for tile in pixels])
    rows = judge(model, tiles, batch_for(model.session, px, _FREE_BYTES))
    latency_ms = (time.perf_counter() - start) * 1000 / len(rows)
    return [_prediction(manifest, row.tolist(), latency_ms) for row in rows]


def _prediction(manifest: Manifest, row: list[float], latency_ms: float) -> Prediction:
    chances = dict(zip(manifest.classes, row, strict=True))
    return Prediction(
        label=max(chances, key=lambda name: chances[name]),
        probabilities=chances,
        variant=manifest.variant,
        release_number=manifest.release_number,
        latency_ms=latency_ms,
        source="device",
    )


def version_of(manifest: Manifest) -> str:
    return manifest.sha256[:_VERSION_DIGITS]


def version_of_model(model: LocalModel) -> str:
    return version_of(model.manifest)


def _facts(predictions: list[Prediction]) -> dict[str, str | int]:
    """Return variant and release where they are the same for all."""
    facts: dict[str, str | int] = {}
    variants = {p.variant for p in predictions}
    releases = {p.release_number for p in predictions}
    if len(variants) == 1:
        facts["variant"] = variants.pop()
    if len(releases) == 1 and None not in releases:
        facts["release_number"] = releases.pop() or 0
    return facts


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _about() -> dict[str, Any]:
    try:
        version = metadata.version("paretofleet")
    except metadata.PackageNotFoundError:
        version = "0"
    return {"name": "paretofleet", "version": version, "extensions": EXTENSIONS}
