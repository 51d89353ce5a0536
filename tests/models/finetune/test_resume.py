"""Killed at any time, a run continues as if nothing had happened (models/finetune/training.py)."""

import signal
from pathlib import Path

import pytest

from contract.finetune import EXIT_DONE, MODEL_FILE

SAME = (
    "balanced_accuracy_before",
    "balanced_accuracy_after",
    "balanced_accuracy_after_lower",
    "auc_after",
    "best_epoch",
    "steps",
    "images_trained",
    "model_sha256",
    "n_train",
    "n_test",
)


@pytest.fixture(scope="module")
def uninterrupted():
    return {}


def _facts(result):
    return {name: result[name] for name in SAME}


# Lines: 2 load, 1 before, 1 epoch 0, then five steps and one epoch line, four times, 2 more.
@pytest.mark.parametrize("lines", [1, 4, 6, 9, 10, 16, 22, 27, 28, 29])
def test_killed_after_any_line_the_result_is_the_same(
    job, finetune, finetune_until, uninterrupted, lines, tmp_path
):
    made = job("exit", epochs=4)
    if not uninterrupted:
        whole = finetune(made | {"output_dir": str(tmp_path / "whole")})
        assert whole.code == EXIT_DONE
        uninterrupted.update(_facts(whole.result))
    code = finetune_until(made, lines, signal.SIGKILL)
    assert code in {-signal.SIGKILL, EXIT_DONE}
    ended = finetune(made)
    assert ended.code == EXIT_DONE, ended.errors
    assert _facts(ended.result) == uninterrupted


def test_killed_again_and_again_it_still_ends_the_same(
    job, finetune, finetune_until, uninterrupted
):
    made = job("exit", epochs=4)
    for _ in range(4):
        finetune_until(made, 10, signal.SIGKILL)
    ended = finetune(made)
    assert ended.code == EXIT_DONE
    if uninterrupted:
        assert _facts(ended.result) == uninterrupted


def test_a_resumed_run_does_only_what_is_left(job, finetune, finetune_until):
    made = job("exit", epochs=4)
    finetune_until(made, 13, signal.SIGKILL)
    ended = finetune(made)
    assert 0 < len(ended.steps()) < ended.result["steps"]


def test_a_checkpoint_without_its_best_parameters_starts_over(job, finetune, finetune_until):
    made = job("exit", epochs=4)
    finetune_until(made, 18, signal.SIGKILL)
    folder = Path(made["output_dir"])
    (folder / "best.safetensors").unlink(missing_ok=True)
    ended = finetune(made)
    assert ended.code == EXIT_DONE
    assert (folder / MODEL_FILE).exists()
