"""The whole of one fine-tune, top to bottom, and how each of its ends is told.

Images in, scores before, training, the model written and proven, scores after, the result. Every
part lives in its own module; this one holds their order. Import it only after the thread
variables are set (``models.finetune.program`` does).
"""

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import onnxruntime
import PIL

from contract.finetune import (
    EXIT_DONE,
    EXIT_STOPPED,
    MODEL_FILE,
    MOST_SCORES,
    RESULT_FILE,
    SCORES_FILE,
    FinetuneJob,
    FinetuneScores,
    Score,
)
from models.data.duplicates import fingerprint as describe
from models.finetune.batches import Indices
from models.finetune.checkpoint import CheckpointStore
from models.finetune.dataset import Dataset, list_images, load_dataset, thinned
from models.finetune.delivery import latency_ms, predictor, require_agreement, write_model
from models.finetune.errors import BadInputError, FinetuneError, NeedsFrugalityError, StoppedError
from models.finetune.evaluation import Predict, logits_of, scores
from models.finetune.files import Reserve, sha256_of, sole_use, write_bytes, write_whole
from models.finetune.fingerprint import fingerprint
from models.finetune.memory import MemoryGuard, release_memory, tune_allocator
from models.finetune.parameters import FlatTensors, Floats
from models.finetune.pixels import PixelStore
from models.finetune.report import Recorder
from models.finetune.rival import rival_figures, write_seen
from models.finetune.session import (
    TrainingSession,
    is_out_of_memory,
    merged_model,
)
from models.finetune.signals import StopRequest
from models.finetune.surroundings import Surroundings
from models.finetune.tensors import read_tensors
from models.finetune.training import Training, total_steps
from models.metrics import auc_from_logits, balanced_accuracy_interval, predictions

_IMAGES_PER_LINE = 100
# Inference is no faster in bigger batches on one thread, and must not set the peak.
_INFERENCE_BATCH = 1


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What outlives the training session."""

    parameters: FlatTensors
    validation_logits: Floats


def run_job(job: FinetuneJob, *, frugal: bool = False) -> int:
    """Run ``job`` to its end, write its result file and return the exit code.

    ``frugal`` trains with less memory and more time. Raises NeedsFrugalityError when memory ran
    out and that has not been tried: in this process the heap is torn, so start a fresh one.
    """
    tune_allocator()
    guard = MemoryGuard(job.ram_cap_bytes)
    recorder = Recorder(job.job_id, guard)
    recorder.note(versions=versions())
    try:
        with sole_use(output_folder(job)):
            return _run_alone(job, guard, recorder, frugal=frugal)
    except BadInputError as error:
        print(f"fine-tune failed: {error}", file=sys.stderr)
        return error.exit_code


def _run_alone(job: FinetuneJob, guard: MemoryGuard, recorder: Recorder, *, frugal: bool) -> int:
    failure: FinetuneError
    try:
        _finetune(job, guard, recorder, frugal=frugal)
    except (StoppedError, BrokenPipeError):
        print(f"stopped while {recorder.doing}; the checkpoint stands", file=sys.stderr)
        return EXIT_STOPPED
    except FinetuneError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - named, or raised again
        guard.lift()
        if is_out_of_memory(error) and not frugal:
            raise NeedsFrugalityError from None
        failure = _named(error, guard, recorder.doing)
    else:
        return EXIT_DONE
    # The frames of the failed run hold its session and images: let go of them first.
    failure.__traceback__ = failure.__cause__ = failure.__context__ = None
    release_memory()
    guard.lift()
    return _end_badly(Path(job.output_dir), recorder, failure)


def versions() -> dict[str, str]:
    """Return the versions of everything that a figure of this program depends on."""
    return {
        "python": python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pillow": PIL.__version__,
    }


def floor_bytes() -> int:
    """Return the RSS of this process before a job has begun."""
    tune_allocator()
    return MemoryGuard(None).floor_bytes


def output_folder(job: FinetuneJob) -> Path:
    """Return the job's output folder, made if need be; raises BadInputError."""
    folder = Path(job.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"cannot make output_dir {folder}: {error}") from error
    return folder


def _named(error: Exception, guard: MemoryGuard, doing: str) -> FinetuneError:
    """Return the named error for a foreign one, or raise it again when it is our own bug."""
    if is_out_of_memory(error):
        return guard.over_cap(doing)
    if type(error).__module__.startswith("onnxruntime"):
        return BadInputError(f"onnxruntime failed while {doing}: {error}; fetch the variant again")
    raise error


def _end_badly(folder: Path, recorder: Recorder, failure: FinetuneError) -> int:
    Reserve(folder).release()
    print(f"fine-tune failed: {failure}", file=sys.stderr)
    try:
        recorder.finish(folder, failure.status, str(failure))
    except FinetuneError as error:
        print(f"and the result could not be written: {error}", file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):
        recorder.say("error", text=str(failure))
    return failure.exit_code


def _finetune(job: FinetuneJob, guard: MemoryGuard, recorder: Recorder, *, frugal: bool) -> None:
    folder = Path(job.output_dir)
    stop = StopRequest()
    # OpenBLAS reserves its buffer on first use, and ends the process where it cannot.
    describe(np.zeros((job.input_px, job.input_px, job.in_channels), np.uint8))
    guard.enforce()
    listing = list_images(job)
    checkpoints = CheckpointStore(folder, fingerprint(job, listing.paths()))
    earlier = _standing_result(folder, checkpoints)
    if earlier is not None:
        recorder.total_steps = int(earlier["steps"])
        recorder.say("done", done=recorder.total_steps, text="finished earlier")
        return
    recorder.total_steps = total_steps(job, listing.expected_train)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    around = Surroundings(
        recorder=recorder,
        guard=guard,
        checkpoints=checkpoints,
        stop_requested=stop,
        frugal=frugal,
    )
    with Reserve(folder), PixelStore(folder, job.input_px, job.in_channels) as store:
        dataset = load_dataset(listing, store, job, lambda n: _after_image(around, n))
        recorder.total_steps = total_steps(job, dataset.train.size)
        _note_sizes(recorder, dataset)
        _score_before(job, dataset, around)
        trained = _train(job, dataset, around)
        release_memory()
        _deliver(job, dataset, trained, around)
        write_seen(job, dataset)
        recorder.note(**rival_figures(job, dataset, around))
    recorder.finish(folder, "done", "")
    recorder.say("done", text=f"balanced accuracy {recorder.result.balanced_accuracy_after:.4f}")


def _standing_result(folder: Path, checkpoints: CheckpointStore) -> dict[str, Any] | None:
    """Return the stored result if this very job has finished before and its files are whole."""
    counters = checkpoints.counters()
    if counters is None or not counters.finished:
        return None
    try:
        result: dict[str, Any] = json.loads((folder / RESULT_FILE).read_bytes())
        whole = result["model_sha256"] == sha256_of(folder / MODEL_FILE)
        return result if whole and result["status"] == "done" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _after_image(around: Surroundings, n: int) -> None:
    around.check()
    if n % _IMAGES_PER_LINE == 1:
        around.recorder.say("load", done=0, text=f"{n} images read")


def _note_sizes(recorder: Recorder, dataset: Dataset) -> None:
    recorder.note(
        n_train=dataset.train.size,
        n_validation=dataset.validation.size,
        n_test=dataset.test.size,
        n_dropped=dataset.n_dropped,
    )


def _score_before(job: FinetuneJob, dataset: Dataset, around: Surroundings) -> None:
    around.recorder.doing = "scoring the model as it came"
    predict = predictor(Path(job.inference_path), job.threads, arena=True)
    figures = _figures(job, dataset, _inferred(predict, dataset, dataset.test, around))
    before = figures["balanced_accuracy"]
    around.recorder.note(balanced_accuracy_before=before, auc_before=figures["auc"])
    around.recorder.say("evaluate", done=0, text=f"before: {before:.4f}")


def _figures(job: FinetuneJob, dataset: Dataset, logits: Floats) -> dict[str, float]:
    """Return what ``logits`` of the test images are worth."""
    labels = dataset.labels[dataset.test]
    found = balanced_accuracy_interval(labels, predictions(logits), len(job.classes))
    return {
        "balanced_accuracy": found.value,
        "lower": found.lower,
        "auc": auc_from_logits(labels, logits),
    }


def _inferred(predict: Predict, dataset: Dataset, rows: Indices, around: Surroundings) -> Floats:
    return logits_of(predict, dataset.store, rows, micro_batch=_INFERENCE_BATCH, check=around.check)


def _train(job: FinetuneJob, dataset: Dataset, around: Surroundings) -> _Trained:
    around.recorder.doing = "loading the training graph"
    weights = Path(job.weights_path)
    parameters = FlatTensors.copied_from(read_tensors(weights, job.trainable))
    session = _opened(job, parameters, around)
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


def _opened(job: FinetuneJob, parameters: FlatTensors, around: Surroundings) -> TrainingSession:
    model = merged_model(Path(job.train_graph_path), Path(job.weights_path), job.frozen)
    arena = not around.frugal
    with around.guard.runtime():
        session = TrainingSession(model, parameters, threads=job.threads, arena=arena)
    session.require_units_for(len(job.classes))
    return session


def _deliver(job: FinetuneJob, dataset: Dataset, trained: _Trained, around: Surroundings) -> None:
    around.recorder.doing = "writing the model"
    target = Path(job.output_dir) / MODEL_FILE

    def write(temporary: Path) -> None:
        write_model(Path(job.inference_path), trained.parameters.views, temporary)
        figures = _proven(job, dataset, trained, temporary, around)
        around.recorder.note(**figures, model_sha256=sha256_of(temporary))

    write_whole(target, write)
    after = around.recorder.result.balanced_accuracy_after
    around.recorder.say("evaluate", text=f"after: {after:.4f}")


def _proven(
    job: FinetuneJob, dataset: Dataset, trained: _Trained, model: Path, around: Surroundings
) -> dict[str, Any]:
    """Write the scores of the written ``model`` and return its figures.

    Raises ModelsDisagreeError.
    """
    predict = predictor(model, job.threads, arena=True)
    rows = dataset.validation
    require_agreement(_inferred(predict, dataset, rows, around), trained.validation_logits)
    logits = _inferred(predict, dataset, dataset.test, around)
    _keep_scores(job, dataset, trained.validation_logits, logits, sha256_of(model))
    figures = _figures(job, dataset, logits)
    if job.threads > 1:
        del predict
        predict = predictor(model, 1, arena=True)
    return {
        "balanced_accuracy_after": figures["balanced_accuracy"],
        "balanced_accuracy_after_lower": figures["lower"],
        "auc_after": figures["auc"],
        "latency_ms": latency_ms(predict, dataset.store.read(rows[:1])),
    }


def _keep_scores(
    job: FinetuneJob, dataset: Dataset, validation: Floats, test: Floats, model_sha256: str
) -> None:
    """Write the scores file, from which a box learns how sure an answer must be."""
    found = FinetuneScores(
        model_sha256=model_sha256,
        validation=_thinned_scores(dataset.labels[dataset.validation], validation, job.seed),
        test=_thinned_scores(dataset.labels[dataset.test], test, job.seed),
    )
    content = json.dumps(dataclasses.asdict(found), allow_nan=False).encode()
    write_bytes(Path(job.output_dir) / SCORES_FILE, content)


def _thinned_scores(labels: Indices, logits: Floats, seed: int) -> list[Score]:
    kept = thinned(labels, MOST_SCORES, seed)
    return scores(labels[kept], logits[kept])
