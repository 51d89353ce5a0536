import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from contract.finetune import (
    EXIT_BAD_INPUT,
    EXIT_DISK_FULL,
    EXIT_DIVERGED,
    EXIT_DONE,
    EXIT_OVER_CAP,
    EXIT_STOPPED,
    MODEL_FILE,
    RESULT_FILE,
)

FORBIDDEN = ("torch", "onnx", "pydantic", "cv2", "typer", "rich", "scipy", "pandas")


@pytest.mark.parametrize(
    ("cut", "optimiser", "rate"),
    [("head", "adam", 3e-2), ("exit", "adam", 3e-3), ("stem", "adam", 3e-3), ("exit", "sgd", 1e-2)],
)
def test_learns_an_easy_task(job, finetune, cut, optimiser, rate):
    ended = finetune(job(cut, epochs=8, optimiser=optimiser, learning_rate=rate))
    assert ended.code == EXIT_DONE, ended.errors
    result = ended.result
    assert result["status"] == "done"
    assert result["balanced_accuracy_before"] < 0.8
    assert result["balanced_accuracy_after"] > 0.85
    assert result["auc_after"] > 0.9
    assert result["balanced_accuracy_after_lower"] < result["balanced_accuracy_after"]


def test_reports_what_it_did_and_what_it_took(job, finetune):
    ended = finetune(job("exit", epochs=2))
    result = ended.result
    n_train = result["n_train"]
    assert result["steps"] == len(ended.steps()) == 2 * -(-n_train // 16)
    assert result["images_trained"] == 2 * n_train
    assert 0 < result["floor_bytes"] < result["peak_rss_bytes"] < 150 * 2**20
    assert result["workload_bytes"] == result["peak_rss_bytes"] - result["floor_bytes"]
    assert 0 < result["peak_anonymous_bytes"] < result["peak_rss_bytes"]
    assert 0 < result["train_seconds"] < result["seconds"]
    assert result["cpu_seconds"] > 0
    assert result["latency_ms"] > 0
    assert {"onnxruntime", "numpy", "python"} <= set(result["versions"])


def test_progress_counts_up_to_a_total_that_is_exact_once_the_images_are_read(job, finetune):
    ended = finetune(job("head", epochs=2))
    totals = {line["total"] for line in ended.lines if line["event"] != "load"}
    assert len(totals) == 1
    assert all(line["total"] > 0 for line in ended.lines)
    done = [line["done"] for line in ended.lines]
    assert done == sorted(done)
    assert done[-1] == totals.pop()
    assert {line["event"] for line in ended.lines} == {"load", "step", "epoch", "evaluate", "done"}


def test_the_delivered_model_runs_by_itself_and_holds_the_new_parameters(job, finetune, variant):
    made = job("exit", epochs=2)
    ended = finetune(made)
    model = Path(made["output_dir"]) / MODEL_FILE
    images = np.zeros((2, 32, 32, 3), np.uint8)
    before, after = (
        ort.InferenceSession(str(path)).run(["logits", "features"], {"images": images})
        for path in (variant.inference, model)
    )
    assert ended.result["best_epoch"] > 0
    assert not np.allclose(before[0], after[0])
    assert before[1].shape == after[1].shape


def test_is_never_worse_on_validation_than_the_weights_it_got(job, finetune, variant):
    made = job("stem", epochs=1, learning_rate=1e-9)
    ended = finetune(made)
    assert ended.result["best_epoch"] == 0
    model = (Path(made["output_dir"]) / MODEL_FILE).read_bytes()
    assert model == variant.inference.read_bytes()


def test_the_micro_batch_changes_memory_and_nothing_else(job, finetune, tmp_path):
    losses = []
    for size in (2, 8, 16):
        made = job("stem", epochs=1, micro_batch=size, output_dir=str(tmp_path / f"m{size}"))
        ended = finetune(made)
        losses.append([line["loss"] for line in ended.steps()])
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)
    np.testing.assert_allclose(losses[0], losses[2], rtol=2e-3)


def test_two_steps_are_a_dry_run(job, finetune):
    ended = finetune(job("stem", epochs=9, max_steps=2))
    assert ended.code == EXIT_DONE
    assert ended.result["steps"] == 2
    assert ended.lines[0]["total"] == 2
    assert ended.result["peak_rss_bytes"] > 0


def test_a_finished_job_answers_at_once_with_its_old_result(job, finetune):
    made = job("head", epochs=1)
    first = finetune(made)
    second = finetune(made)
    assert second.code == EXIT_DONE
    assert second.result == first.result
    assert [line["event"] for line in second.lines] == ["done"]


def test_a_changed_job_does_not_answer_with_an_old_result(job, finetune):
    finetune(job("head", epochs=1))
    ended = finetune(job("head", epochs=2))
    assert len(ended.steps()) == ended.result["steps"]


def test_a_finished_job_whose_model_was_damaged_is_delivered_again(job, finetune):
    made = job("head", epochs=1)
    first = finetune(made)
    model = Path(made["output_dir"]) / MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    second = finetune(made)
    assert second.code == EXIT_DONE
    assert not second.steps()
    assert second.result["model_sha256"] == first.result["model_sha256"]


def test_loads_nothing_that_the_box_has_no_room_for(job, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job("exit", epochs=1)))
    script = (
        "import sys\n"
        "from models.__main__ import main\n"
        f"code = main(['finetune', {str(path)!r}])\n"
        f"loaded = [m for m in {FORBIDDEN!r} if m in sys.modules]\n"
        "sys.stderr.write(repr((code, loaded)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ended.stderr.endswith("(0, [])")


def test_where_a_big_micro_batch_breaks_the_cap_a_smaller_one_fits(job, finetune, tmp_path):
    def run(size, **changes):
        folder = str(tmp_path / f"m{size}-{len(changes)}")
        made = job("stem", batch=64, micro_batch=size, max_steps=1, output_dir=folder)
        return finetune(made | changes)

    cap = run(1).result["peak_rss_bytes"] + 5 * 2**20
    broken = run(64, ram_cap_bytes=cap)
    assert broken.code == EXIT_OVER_CAP, broken.errors
    assert "going on without the arena" in broken.errors
    assert broken.result["status"] == "over_cap"
    assert broken.result["cap_kinds"] == ["rlimit_data", "rss_check"]
    assert broken.result["peak_rss_bytes"] <= cap
    assert "micro-batch" in broken.result["reason"]
    assert not (tmp_path / "m64-1" / MODEL_FILE).exists()
    assert run(1, ram_cap_bytes=cap).code == EXIT_DONE


def test_a_cap_just_above_the_need_does_no_harm(job, finetune):
    """Which pages of the libraries are in memory at the start breathes by some 4 MB a run."""
    free = finetune(job("stem", epochs=1))
    cap = free.result["peak_rss_bytes"] + 8 * 2**20
    capped = finetune(
        job("stem", epochs=1, ram_cap_bytes=cap, output_dir=job()["output_dir"] + "2")
    )
    assert capped.code == EXIT_DONE, capped.errors
    assert capped.result["peak_rss_bytes"] <= cap
    assert capped.result["model_sha256"] == free.result["model_sha256"]


def test_a_cap_below_the_floor_ends_before_any_work(job, finetune):
    ended = finetune(job("head", ram_cap_bytes=20 * 2**20))
    assert ended.code == EXIT_OVER_CAP
    assert ended.result["status"] == "over_cap"


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_best(job, finetune):
    made = job("stem", epochs=5, optimiser="sgd", learning_rate=10.0)
    ended = finetune(made)
    assert ended.code == EXIT_DIVERGED, ended.result
    assert ended.result["status"] == "diverged"
    assert "learning rate" in ended.result["reason"]
    folder = Path(made["output_dir"])
    assert not (folder / MODEL_FILE).exists()
    assert (folder / "checkpoint.safetensors").exists()


def test_a_full_disk_ends_the_run_and_leaves_old_files_whole(job, finetune):
    made = job("head", epochs=1)
    finetune(made)
    folder = Path(made["output_dir"])
    old = (folder / MODEL_FILE).read_bytes()

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, resource.RLIM_INFINITY))

    for cut in ("head", "stem"):
        ended = finetune(job(cut, epochs=2), preexec_fn=little_room)
        assert ended.code == EXIT_DISK_FULL, ended.errors
        assert ended.result["status"] == "disk_full"
        assert (folder / MODEL_FILE).read_bytes() == old
        assert not list(folder.glob(".*.partial"))


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 700 KiB; skips where it cannot be mounted."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def test_a_disk_without_room_still_gets_the_result(job, finetune, tiny_disk):
    ended = finetune(job("stem", output_dir=str(tiny_disk)))
    assert ended.code == EXIT_DISK_FULL, ended.errors
    assert json.loads((tiny_disk / RESULT_FILE).read_bytes())["status"] == "disk_full"
    assert "make room" in ended.result["reason"]


def test_sigterm_stops_after_the_step_and_the_same_job_goes_on(job, finetune, finetune_until):
    made = job("exit", epochs=3)
    assert finetune_until(made, 7, signal.SIGTERM) == EXIT_STOPPED
    folder = Path(made["output_dir"])
    assert not (folder / RESULT_FILE).exists()
    assert (folder / "checkpoint.safetensors").exists()
    assert finetune(made).code == EXIT_DONE


def test_a_reader_that_goes_away_stops_the_run(job, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job("exit", epochs=50)))
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "models", "finetune", str(path)]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(write)
    assert ended.returncode == EXIT_STOPPED, ended.stderr


def test_tells_the_floor_that_its_jobs_start_from(job, finetune):
    command = [sys.executable, "-m", "models", "floor"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    floor = json.loads(ended.stdout)["floor_bytes"]
    started = finetune(job("head", max_steps=1)).result["floor_bytes"]
    assert floor == pytest.approx(started, rel=0.03)


def test_without_a_job_it_says_how_to_call_it():
    command = [sys.executable, "-m", "models", "finetune"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_BAD_INPUT
    assert "JOB.json" in ended.stderr


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"batch": 0}, "batch"),
        ({"epochs": "many"}, "epochs"),
        ({"optimiser": "lion"}, "optimiser"),
        ({"weights_path": "/nowhere/w"}, "weights_path"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_field_is_named_and_told_in_the_result(job, finetune, change, field):
    ended = finetune(job() | change)
    assert ended.code == EXIT_BAD_INPUT
    assert ended.result["status"] == "bad_input"
    assert repr(field) in ended.result["reason"]
    assert repr(field) in ended.errors


def _save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def test_artifacts_that_do_not_belong_together_are_refused(job, finetune, variant, tmp_path):
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(variant.weights.read_bytes()[:-1000])
    assert finetune(job(weights_path=str(damaged))).code == EXIT_BAD_INPUT
    graph = finetune(job(train_graph_path=str(variant.inference)))
    assert graph.code == EXIT_BAD_INPUT
    inference = tmp_path / "inference.onnx"
    inference.write_bytes(b"no model at all")
    refused = finetune(job(inference_path=str(inference)))
    assert refused.code == EXIT_BAD_INPUT
    assert "fetch" in refused.result["reason"]


def test_weights_of_another_training_are_caught_by_the_logits(job, finetune, variant, tmp_path):
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    weights = load_file(variant.weights)
    frozen = next(name for name in weights if name.startswith("entry1") and "weight" in name)
    weights[frozen] = weights[frozen] * 3 + 1
    other = tmp_path / "other.safetensors"
    save_file(weights, other)
    made = job("exit", epochs=1, weights_path=str(other))
    ended = finetune(made)
    assert ended.code == EXIT_BAD_INPUT
    assert "differ" in ended.result["reason"]
    assert not (Path(made["output_dir"]) / MODEL_FILE).exists()


def test_a_job_that_names_other_classes_than_the_variant_knows_is_refused(job, finetune, tmp_path):
    folder = tmp_path / "three"
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        for number in range(20):
            pixels = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            _save(folder / name / f"{number}.png", Image.fromarray(pixels))
    ended = finetune(job(data_dir=str(folder), classes=["a", "b", "c"]))
    assert ended.code == EXIT_BAD_INPUT
    assert "classes" in ended.result["reason"]
