"""The threshold of each model of this box: from its held-back scores, and from drift seen since.

Beside each model lie the scores that the fine-tune program wrote (``scores.json``, immutable).
``calibration.json`` in the state directory is written by the agent's loop alone: whether the images
have drifted under the active model, and what the server was told. Predictions read both; a file
that is gone or damaged is no evidence, and then nothing is trusted.
"""

import threading
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import Field, ValidationError

from contract.base import Count, Fraction, Label, Message, Sha256
from contract.finetune import MOST_SCORES, SCORES_FILE
from contract.rules import BoxRules
from device_agent.cloud.calibrate import Calibration, Scored, calibrate
from device_agent.cloud.confidence_drift import MOST_LIVE, recalibrate
from device_agent.disk.files import write_atomic
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest

log = structlog.get_logger()
_MOST_BYTES = 4_000_000
_Part = Annotated[tuple[tuple[Count, Count, Fraction], ...], Field(max_length=MOST_SCORES)]


class HeldBack(Message):
    """What a model made of images that it did not train on: see contract.finetune."""

    model_sha256: Sha256
    validation: _Part = ()
    test: _Part = ()


class Watch(Message):
    """What the agent has seen and said of the active model.

    ``live`` are the confidences of the window in which the images were found to have drifted;
    empty while they have not. ``told`` names what was reported last, ``revision`` counts reports.
    """

    model_sha256: Sha256 | None = None
    live: Annotated[tuple[Fraction, ...], Field(max_length=MOST_LIVE)] = ()
    told: Label | None = None
    revision: Count = 0


class Calibrations:
    """Thread-safe. Works out a threshold once for a model, rules and drift, and remembers it."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._known: tuple[object, Calibration | None] | None = None

    def threshold(self, manifest: Manifest, rules: BoxRules) -> Calibration | None:
        """Return what the rules' promise needs of this model; None where they promise nothing."""
        if rules.max_risk is None and rules.max_offload is None:
            return None
        key = (
            manifest.model_id,
            (rules.max_risk, rules.max_offload, rules.risk_confidence),
            _state_of(self._paths.calibration),
        )
        with self._lock:
            if self._known is None or self._known[0] != key:
                watch = read_watch(self._paths)
                self._known = (key, work_out(held_back(self._paths, manifest), watch, rules))
            return self._known[1]


def work_out(scores: HeldBack, watch: Watch, rules: BoxRules) -> Calibration | None:
    """Return the threshold by a model's scores, and by the live window where images drifted."""
    guide, test = scored(scores.validation), scored(scores.test)
    if watch.live and watch.model_sha256 == scores.model_sha256:
        return recalibrate(guide, test, watch.live, rules)
    return calibrate(guide, test, rules)


def held_back(paths: StatePaths, manifest: Manifest) -> HeldBack:
    """Return the scores beside a model; none where they are absent, damaged or another model's."""
    path = paths.models / manifest.model_id / SCORES_FILE
    empty = HeldBack(model_sha256=manifest.sha256)
    try:
        if path.stat().st_size > _MOST_BYTES:
            return empty
        scores = HeldBack.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return empty
    except (OSError, ValidationError) as exc:
        log.warning("scores_unusable", model_id=manifest.model_id, reason=str(exc)[:300])
        return empty
    return scores if scores.model_sha256 == manifest.sha256 else empty


def scored(part: _Part) -> list[Scored]:
    """Return the confidence of each answer and whether it was right."""
    return [(confidence, true == guess) for true, guess, confidence in part]


def sureness(scores: HeldBack) -> list[float]:
    """Return the confidences of all held-back images."""
    return [confidence for _, _, confidence in (*scores.validation, *scores.test)]


def read_watch(paths: StatePaths) -> Watch:
    """Return what the agent has noted; nothing where the file is absent or damaged."""
    try:
        return Watch.model_validate_json(paths.calibration.read_bytes())
    except (OSError, ValidationError):
        return Watch()


def write_watch(paths: StatePaths, watch: Watch) -> None:
    """Note it; raises DiskFullError and StateError."""
    write_atomic(paths.calibration, watch.model_dump_json().encode())


def _state_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
