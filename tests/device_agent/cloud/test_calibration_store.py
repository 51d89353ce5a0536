"""Thresholds from the files beside a model, and what is believed of damaged ones."""

import json
from datetime import UTC, datetime

import pytest

from contract.finetune import MOST_SCORES, SCORES_FILE
from contract.rules import BoxRules
from device_agent.cloud.calibration_store import (
    Calibrations,
    Watch,
    held_back,
    read_watch,
    scored,
    sureness,
    write_watch,
)
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest

RISK, SHARE = BoxRules(max_risk=0.1), BoxRules(max_offload=0.3)
SHA256 = "ab" * 32


class Kept:
    """A model's folder on a shelf, with scores beside it."""

    def __init__(self, paths: StatePaths) -> None:
        paths.make()
        self.paths = paths
        self.manifest = Manifest(
            model_id="one", variant="xcep", classes=("ok", "defect"), input_px=8, in_channels=3,
            sha256=SHA256, length_bytes=1, release_number=1, point_key="p", balanced_accuracy=0.9,
            n_test=10, data_key="d", artifacts=(), made_at=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        (paths.models / "one").mkdir(parents=True)

    def score(self, n: int, *, sha256: str = SHA256, wrong: int = 0) -> None:
        """Write ``n`` evenly spread confidences, the least sure ``wrong`` of them wrong."""
        rows = [[0, int(k < wrong), 0.5 + k / (2 * n)] for k in range(n)]
        self.write(json.dumps({"model_sha256": sha256, "validation": rows, "test": rows}).encode())

    def write(self, content: bytes) -> None:
        (self.paths.models / "one" / SCORES_FILE).write_bytes(content)


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(StatePaths(tmp_path / "state"))


def test_the_threshold_comes_from_the_scores(kept):
    kept.score(200, wrong=60)
    found = Calibrations(kept.paths).threshold(kept.manifest, RISK)

    assert found.n == 200
    assert 0.6 < found.threshold < 0.65
    assert 0.7 < found.kept_share < 0.8


def test_rules_without_a_promise_read_nothing(kept):
    assert Calibrations(kept.paths).threshold(kept.manifest, BoxRules()) is None


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"{", b"[]", b'{"model_sha256": "x"}', b"\xff" * 40,
        json.dumps({"model_sha256": SHA256, "test": [[0, 0, 1.5]] * 90}).encode(),
        json.dumps({"model_sha256": SHA256, "test": [[0, 0, float("nan")]] * 90}).encode(),
        json.dumps({"model_sha256": SHA256, "test": [[-1, 0, 0.9]] * 90}).encode(),
        json.dumps({"model_sha256": SHA256, "test": [[0, 0, 0.9]] * (MOST_SCORES + 1)}).encode(),
        json.dumps({"model_sha256": "cd" * 32, "test": [[0, 0, 0.9]] * 90}).encode(),
        b" " * 4_000_001,
    ],
)  # fmt: skip
def test_scores_that_are_gone_damaged_or_another_models_are_no_evidence(kept, content):
    if content is not None:
        kept.write(content)
    calibrations = Calibrations(kept.paths)

    assert held_back(kept.paths, kept.manifest).test == ()
    assert calibrations.threshold(kept.manifest, RISK).threshold is None
    assert calibrations.threshold(kept.manifest, SHARE).threshold == 0.0


def test_scores_are_read_once_for_a_model_and_its_rules(kept):
    kept.score(200)
    calibrations = Calibrations(kept.paths)
    first = calibrations.threshold(kept.manifest, RISK)
    kept.write(b"gone")

    assert calibrations.threshold(kept.manifest, RISK) is first
    assert calibrations.threshold(kept.manifest, SHARE).threshold == 0.0


def test_a_drift_that_the_agent_notes_is_heeded_at_the_next_prediction(kept):
    kept.score(400, wrong=100)
    calibrations = Calibrations(kept.paths)
    before = calibrations.threshold(kept.manifest, RISK)
    write_watch(kept.paths, Watch(model_sha256=SHA256, live=(0.6,) * 150 + (0.9,) * 50))
    after = calibrations.threshold(kept.manifest, RISK)

    assert after.n == 200
    assert after.threshold is None or after.threshold > before.threshold
    write_watch(kept.paths, Watch(model_sha256="cd" * 32, live=(0.6,) * 200))
    assert calibrations.threshold(kept.manifest, RISK) == before


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"live": [2.0]}'])
def test_a_watch_that_is_gone_or_damaged_is_a_new_one(kept, content):
    if content is not None:
        kept.paths.calibration.write_bytes(content)

    assert read_watch(kept.paths) == Watch()


def test_a_watch_is_kept(kept):
    watch = Watch(model_sha256=SHA256, live=(0.5, 0.75), told="x", revision=3)
    write_watch(kept.paths, watch)

    assert read_watch(kept.paths) == watch


def test_an_answer_is_right_when_both_classes_agree(kept):
    kept.write(json.dumps({"model_sha256": SHA256, "test": [[0, 1, 0.6], [1, 1, 0.7]]}).encode())
    scores = held_back(kept.paths, kept.manifest)

    assert scored(scores.test) == [(0.6, False), (0.7, True)]
    assert sureness(scores) == [0.6, 0.7]
