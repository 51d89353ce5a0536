"""The training loop: epochs of steps, a validation after each, the best epoch kept.

Epoch 0 is the weights as they came, so the result is never worse on validation than what it
started from; of equal epochs the earlier one wins. After every epoch the state goes to disk. The
loop neither loads images nor writes the model.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from contract.finetune import FinetuneJob
from models.finetune.batches import Batch, BatchPlan, Indices, Pixels
from models.finetune.checkpoint import Counters
from models.finetune.dataset import Dataset
from models.finetune.errors import DivergedError
from models.finetune.evaluation import logits_of, validation_score
from models.finetune.optimiser import OPTIMISERS, Optimiser
from models.finetune.parameters import FlatTensors, Floats
from models.finetune.schedule import learning_rate
from models.finetune.session import MicroBatch, TrainingSession
from models.finetune.surroundings import Surroundings
from models.finetune.tensors import read_tensors


class Training:
    """One run over one dataset. ``parameters`` are the ones that train, changed in place."""

    def __init__(
        self,
        job: FinetuneJob,
        dataset: Dataset,
        session: TrainingSession,
        parameters: FlatTensors,
        around: Surroundings,
    ) -> None:
        self._job, self._dataset, self._session, self._around = job, dataset, session, around
        self._parameters = parameters
        self._gradients = FlatTensors(parameters.shapes)
        several = job.micro_batch < min(job.batch, dataset.train.size)
        self._sum: Floats | None = np.zeros_like(parameters.flat) if several else None
        self._optimiser: Optimiser = OPTIMISERS[job.optimiser](parameters.flat.size)
        self._plan = BatchPlan(
            labels=dataset.labels[dataset.train],
            batch=job.batch,
            seed=job.seed,
            dropout=job.dropout,
            features=session.features,
        )
        self._schedule_steps = job.epochs * steps_per_epoch(job, dataset.train.size)
        self._counters = Counters()

    def run(self) -> Counters:
        """Train to the end, or go on from the checkpoint; then load the best parameters.

        Raises DivergedError, StoppedError, OverCapError and DiskFullError.
        """
        self._resume()
        while not self._counters.finished:
            self._epoch(self._counters.epoch + 1)
        self._load_best()
        return self._counters

    def validation_logits(self) -> Floats:
        """Return the logits of the validation images under the present parameters."""
        return logits_of(
            self._logits,
            self._dataset.store,
            self._dataset.validation,
            micro_batch=self._job.micro_batch,
            check=self._around.check,
        )

    def _logits(self, images: Pixels) -> Floats:
        with self._around.guard.runtime():
            return self._session.logits(images)

    def _resume(self) -> None:
        checkpoints = self._around.checkpoints
        found = checkpoints.counters()
        if found is not None and self._best_is_there(found) and checkpoints.load(self._vectors()):
            self._counters = found
            self._optimiser.steps = found.optimiser_steps
            self._around.recorder.resumed_from(found)
            return
        self._counters = Counters(best_score=self._validate(0))
        self._save()

    def _best_is_there(self, found: Counters) -> bool:
        scratch = self._gradients.flat
        best = found.best_epoch
        return best == 0 or self._around.checkpoints.load_best(best, scratch)

    def _epoch(self, epoch: int) -> None:
        for batch in self._plan.epoch(epoch):
            self._step(batch)
            self._around.check()
            if self._counters.steps == self._job.max_steps:
                break
        score = self._validate(epoch)
        if score > self._counters.best_score:
            self._around.checkpoints.save_best(epoch, self._parameters.flat)
            self._counters = replace(self._counters, best_epoch=epoch, best_score=score)
        over = epoch == self._job.epochs or self._counters.steps == self._job.max_steps
        self._counters = replace(self._counters, epoch=epoch, finished=over)
        self._save()

    def _step(self, batch: Batch) -> None:
        started = time.perf_counter()
        step = self._counters.steps
        self._around.recorder.doing = f"training (step {step + 1})"
        loss = self._forward_backward(batch)
        if not math.isfinite(loss):
            raise DivergedError("loss", step + 1)
        rate = learning_rate(self._job.learning_rate, step, self._schedule_steps)
        summed = self._gradients.flat if self._sum is None else self._sum
        self._optimiser.step(self._parameters.flat, summed, rate)
        self._counters = replace(
            self._counters,
            steps=step + 1,
            images_trained=self._counters.images_trained + batch.indices.size,
            train_seconds=self._counters.train_seconds + time.perf_counter() - started,
        )
        self._around.recorder.say("step", done=step + 1, loss=loss)

    def _forward_backward(self, batch: Batch) -> float:
        """Return the loss of the batch; its gradient is left in ``_sum`` (or ``_gradients``)."""
        loss = 0.0
        if self._sum is not None:
            self._sum.fill(0)
        for part in batch.parts(self._job.micro_batch):
            micro_batch = self._micro_batch(part)
            with self._around.guard.runtime():
                loss += self._session.gradients(micro_batch, self._gradients)
            self._around.guard.follow(self._around.recorder.doing)
            if self._sum is not None:
                self._sum += self._gradients.flat
        return loss

    def _micro_batch(self, part: Batch) -> MicroBatch:
        rows: Indices = self._dataset.train[part.indices]
        return MicroBatch(
            images=self._dataset.store.read(rows, part.orientations),
            labels=self._dataset.labels[rows],
            weights=part.weights,
            dropout_mask=part.dropout_mask,
        )

    def _validate(self, epoch: int) -> float:
        recorder = self._around.recorder
        recorder.doing = f"validating (epoch {epoch})"
        labels = self._dataset.labels[self._dataset.validation]
        score = validation_score(labels, self.validation_logits(), self._counters.steps)
        recorder.say(
            "epoch",
            done=self._counters.steps,
            text=f"epoch {epoch}",
            validation_balanced_accuracy=score,
        )
        return score

    def _load_best(self) -> None:
        best = self._counters.best_epoch
        if best == 0:
            weights = read_tensors(Path(self._job.weights_path), self._job.trainable)
            for name, array in weights.items():
                np.copyto(self._parameters.views[name], array)
        elif not self._around.checkpoints.load_best(best, self._parameters.flat):
            message = f"best parameters of epoch {best} vanished while the run was on"
            raise RuntimeError(message)

    def _vectors(self) -> dict[str, Floats]:
        state = {f"optimiser.{k}": v for k, v in self._optimiser.state.items()}
        return {"parameters": self._parameters.flat, **state}

    def _save(self) -> None:
        self._around.recorder.doing = "saving the checkpoint"
        self._counters = replace(
            self._counters,
            optimiser_steps=self._optimiser.steps,
            **self._around.recorder.used(),
        )
        self._around.checkpoints.save(self._counters, self._vectors())


def steps_per_epoch(job: FinetuneJob, n_train: int) -> int:
    """Return the optimiser steps of one epoch, the short last batch included."""
    return math.ceil(n_train / job.batch)


def total_steps(job: FinetuneJob, n_train: int) -> int:
    """Return the steps that the job will make, ``max_steps`` considered."""
    planned = job.epochs * steps_per_epoch(job, n_train)
    return planned if job.max_steps is None else min(planned, job.max_steps)
