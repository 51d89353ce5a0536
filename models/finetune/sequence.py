"""The whole of one fine-tune, top to bottom, and how each of its ends is told.

Images in, scores before, training, the model written and proven, scores after, the result. Every
part lives in its own module; this one holds their order. Import it only after the thread
variables are set (``models.finetune.program`` does).
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import onnxruntime
import PIL
import safetensors

from contract.finetune import EXIT_DONE, MODEL_FILE, RESULT_FILE, FinetuneJob
from models.finetune.checkpoint import CheckpointStore
from models.finetune.dataset import Dataset, list_parts, load_dataset
from models.finetune.delivery import latency_ms, predictor, require_agreement, write_model
from models.finetune.errors import BadInputError, FinetuneError, StoppedError
from models.finetune.evaluation import Predict, logits_of
from models.finetune.files import Reserve, sha256_of, write_whole
from models.finetune.fingerprint import fingerprint
from models.finetune.memory import MemoryGuard, release_memory, tune_allocator
from models.finetune.parameters import FlatTensors, Floats
from models.finetune.pixels import PixelStore
from models.finetune.report import Recorder
from models.finetune.session import (
    TrainingSession,
    is_out_of_memory,
    merged_model,
    read_weights,
)
from models.finetune.signals import StopRequest
from models.finetune.training import Surroundings, Training, total_steps
from models.metrics import auc_from_logits, balanced_accuracy_interval, predictions

# Measured both ways: see docs/decisions/0004-finetune-child.md.
_ARENA = False
_IMAGES_PER_LINE = 100


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What outlives the training session."""

    parameters: FlatTensors
    validation_logits: Floats


def run_job(job: FinetuneJob) -> int:
    """Run ``job`` to its end, write its result file and return the exit code."""
    tune_allocator()
    guard = MemoryGuard(job.ram_cap_bytes)
    recorder = Recorder(job.job_id, guard)
    recorder.note(versions=versions())
    failure: FinetuneError
    try:
        _finetune(job, guard, recorder, StopRequest())
    except StoppedError as stopped:
        print(f"stopped while {recorder.doing}; the checkpoint stands", file=sys.stderr)
        return stopped.exit_code
    except FinetuneError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - named, or raised again
        guard.lift()
        failure = _named(error, guard, recorder.doing)
    else:
        return EXIT_DONE
    # The frames of the failed run hold its session and images: let go of them first.
    failure.__traceback__ = failure.__cause__ = failure.__context__ = None
    return _end_badly(job, guard, recorder, failure)


def versions() -> dict[str, str]:
    """Return the versions of everything that a figure of this program depends on."""
    return {
        "python": python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
        "safetensors": safetensors.__version__,
    }


def _named(error: Exception, guard: MemoryGuard, doing: str) -> FinetuneError:
    """Return the named error for a foreign one, or raise it again when it is our own bug."""
    if is_out_of_memory(error):
        return guard.over_cap(doing)
    if type(error).__module__.startswith("onnxruntime"):
        return BadInputError(f"onnxruntime failed while {doing}: {error}; fetch the variant again")
    raise error


def _end_badly(
    job: FinetuneJob, guard: MemoryGuard, recorder: Recorder, failure: FinetuneError
) -> int:
    release_memory()
    guard.lift()
    folder = Path(job.output_dir)
    Reserve(folder).release()
    print(f"fine-tune failed: {failure}", file=sys.stderr)
    recorder.say("error", text=str(failure))
    try:
        recorder.finish(folder, failure.status, str(failure))
    except FinetuneError as error:
        print(f"and the result could not be written: {error}", file=sys.stderr)
    return failure.exit_code


def _finetune(
    job: FinetuneJob, guard: MemoryGuard, recorder: Recorder, stop: Callable[[], bool]
) -> None:
    folder = _output_folder(job)
    guard.enforce()
    parts = list_parts(job)
    checkpoints = CheckpointStore(folder, fingerprint(job, parts.paths()))
    recorder.total_steps = total_steps(job, len(parts.train))
    if _stands(folder, checkpoints):
        recorder.say("done", done=recorder.total_steps, text="finished earlier")
        return
    (folder / RESULT_FILE).unlink(missing_ok=True)
    around = Surroundings(
        recorder=recorder, guard=guard, checkpoints=checkpoints, stop_requested=stop
    )
    with Reserve(folder), PixelStore(folder, job.input_px, job.in_channels) as store:
        dataset = load_dataset(parts, store, job, _watching(around))
        _note_sizes(recorder, dataset)
        _score_before(job, dataset, recorder)
        trained = _train(job, dataset, around)
        release_memory()
        _deliver(job, dataset, trained, recorder)
    recorder.finish(folder, "done", "")
    recorder.say("done", text=f"balanced accuracy {recorder.result.balanced_accuracy_after}")


def _output_folder(job: FinetuneJob) -> Path:
    folder = Path(job.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"cannot make output_dir {folder}: {error}") from error
    return folder


def _stands(folder: Path, checkpoints: CheckpointStore) -> bool:
    """Say whether this very job has finished before and its files are whole."""
    counters = checkpoints.counters()
    if counters is None or not counters.finished:
        return False
    try:
        result = json.loads((folder / RESULT_FILE).read_bytes())
        same = result["model_sha256"] == sha256_of(folder / MODEL_FILE)
        return bool(same and result["status"] == "done")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _watching(around: Surroundings) -> Callable[[int], None]:
    """Return what to call after each image: it watches memory and SIGTERM, and tells at times."""

    def after_image(n: int) -> None:
        if around.stop_requested():
            raise StoppedError
        if n % _IMAGES_PER_LINE == 1:
            around.recorder.say("load", done=0, text=f"{n} images read")

    return after_image


def _note_sizes(recorder: Recorder, dataset: Dataset) -> None:
    recorder.note(
        n_train=dataset.train.size,
        n_validation=dataset.validation.size,
        n_test=dataset.test.size,
        n_dropped=dataset.n_dropped,
    )


def _score_before(job: FinetuneJob, dataset: Dataset, recorder: Recorder) -> None:
    recorder.doing = "scoring the model as it came"
    predict = predictor(Path(job.inference_path), job.threads, arena=_ARENA)
    figures = _scores(job, dataset, predict)
    recorder.note(balanced_accuracy_before=figures["balanced_accuracy"], auc_before=figures["auc"])
    recorder.say("evaluate", done=0, text=f"before: {figures['balanced_accuracy']:.4f}")


def _scores(job: FinetuneJob, dataset: Dataset, predict: Predict) -> dict[str, float]:
    labels = dataset.labels[dataset.test]
    logits = logits_of(predict, dataset.store, dataset.test, micro_batch=job.micro_batch)
    found = balanced_accuracy_interval(labels, predictions(logits), len(job.classes))
    return {
        "balanced_accuracy": found.value,
        "lower": found.lower,
        "auc": auc_from_logits(labels, logits),
    }


def _train(job: FinetuneJob, dataset: Dataset, around: Surroundings) -> _Trained:
    around.recorder.doing = "loading the training graph"
    weights = Path(job.weights_path)
    parameters = FlatTensors.copied_from(read_weights(weights, job.trainable))
    model = merged_model(Path(job.train_graph_path), weights, job.frozen)
    session = TrainingSession(model, parameters, threads=job.threads, arena=_ARENA)
    del model
    session.require_units_for(len(job.classes))
    release_memory()
    training = Training(job, dataset, session, parameters, around)
    counters = training.run()
    around.recorder.note(
        steps=counters.steps,
        images_trained=counters.images_trained,
        best_epoch=counters.best_epoch,
        train_seconds=counters.train_seconds,
    )
    return _Trained(parameters=parameters, validation_logits=training.validation_logits())


def _deliver(job: FinetuneJob, dataset: Dataset, trained: _Trained, recorder: Recorder) -> None:
    recorder.doing = "writing the model"
    target = Path(job.output_dir) / MODEL_FILE

    def write(temporary: Path) -> None:
        write_model(Path(job.inference_path), trained.parameters.views, temporary)
        figures = _proven(job, dataset, trained, temporary)
        recorder.note(**figures, model_sha256=sha256_of(temporary))

    write_whole(target, write)
    recorder.say("evaluate", text=f"after: {recorder.result.balanced_accuracy_after:.4f}")


def _proven(job: FinetuneJob, dataset: Dataset, trained: _Trained, model: Path) -> dict[str, Any]:
    """Return the figures of the written ``model``; raises ModelsDisagreeError."""
    predict = predictor(model, job.threads, arena=_ARENA)
    rows, store = dataset.validation, dataset.store
    logits = logits_of(predict, store, rows, micro_batch=job.micro_batch)
    require_agreement(logits, trained.validation_logits)
    figures = _scores(job, dataset, predict)
    alone = predictor(model, 1, arena=_ARENA)
    return {
        "balanced_accuracy_after": figures["balanced_accuracy"],
        "balanced_accuracy_after_lower": figures["lower"],
        "auc_after": figures["auc"],
        "latency_ms": latency_ms(alone, store.read(rows[:1])),
    }
