"""Scores of held-back images: the probabilities are those that a box computes when it serves."""

import json
from pathlib import Path

import numpy as np
import pytest

from contract.finetune import MOST_SCORES, SCORES_FILE
from device_agent.serving.predict import probabilities
from models.finetune.evaluation import scores
from models.finetune.sequence import _thinned_scores


@pytest.mark.parametrize("units", [1, 2, 5])
def test_a_score_is_what_the_box_would_say(units):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 8, (60, units)).astype(np.float32)
    labels = rng.integers(0, max(units, 2), 60)

    for (true, guess, confidence), label, row in zip(
        scores(labels, logits), labels, logits, strict=True
    ):
        chances = probabilities(row)
        assert true == label
        assert guess == chances.index(max(chances))
        assert confidence == pytest.approx(max(chances), rel=1e-12)


def test_an_answer_that_is_no_number_is_left_out():
    logits = np.array([[1, 2], [np.nan, 0], [3, np.inf], [5, 4]], np.float32)

    assert [row[:2] for row in scores(np.array([1, 0, 0, 1]), logits)] == [(1, 1), (1, 0)]


def test_a_large_test_part_is_thinned_with_its_classes_in_their_shares():
    labels = np.array([0] * 9000 + [1] * 3000)
    logits = np.zeros((labels.size, 2), np.float32)
    kept = _thinned_scores(labels, logits, seed=3)

    assert len(kept) <= MOST_SCORES
    assert sum(row[0] for row in kept) == pytest.approx(len(kept) / 4, abs=1)


def test_the_program_leaves_the_scores_of_the_model_that_it_delivers(job, finetune):
    made = job("exit", epochs=2)
    result = finetune(made).result
    folder = Path(made["output_dir"])
    kept = json.loads((folder / SCORES_FILE).read_bytes())

    assert kept["model_sha256"] == result["model_sha256"]
    assert len(kept["validation"]) == result["n_validation"]
    assert len(kept["test"]) == result["n_test"]
    hits = [[guess == true for true, guess, _ in kept["test"] if true == k] for k in (0, 1)]
    recalls = [sum(found) / len(found) for found in hits]
    assert sum(recalls) / 2 == pytest.approx(result["balanced_accuracy_after"], abs=1e-6)
    assert (folder / SCORES_FILE).stat().st_size < 10_000
