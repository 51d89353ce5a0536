"""One onnxruntime session over a training-step graph: loss, logits and gradients, nothing kept.

Parameters are read and gradients are written in place, through IO binding: the session works on
the caller's vectors and copies neither. One processor thread pool of the job's size; memory
patterns are off (they keep every activation of the largest batch). It applies no update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from models.finetune.batches import Indices, Pixels
from models.finetune.errors import BadInputError
from models.finetune.parameters import FlatTensors, Floats
from models.finetune.tensors import read_tensors
from models.onnx_bytes import MalformedModelError, with_initializers

IMAGES, LABELS, WEIGHTS, DROPOUT_MASK = "images", "labels", "weights", "dropout_mask"
LOSS, LOGITS, GRADIENT_PREFIX = "loss", "logits", "grad."

_FATAL_ONLY = 4


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What one pass takes: images [n, px, px, c], labels [n], weights [n], mask [n, f] or None."""

    images: Pixels
    labels: Indices
    weights: Floats
    dropout_mask: Floats | None


def session_options(threads: int, *, arena: bool) -> ort.SessionOptions:
    """Return the settings that every session of this program shares."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(model: bytes | str, threads: int, *, arena: bool) -> ort.InferenceSession:
    """Return a session; raises BadInputError when the model is unusable.

    MemoryError and onnxruntime's own out-of-memory errors pass through.
    """
    try:
        return ort.InferenceSession(
            model, session_options(threads, arena=arena), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        name = model if isinstance(model, str) else "the training graph"
        raise BadInputError(f"onnxruntime refuses {name}: {error}; fetch it again") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether ``error`` is an allocation that failed, in Python, numpy or onnxruntime."""
    text = str(error)
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("bad_alloc", "Failed to allocate memory", "bad allocation")
    )


def merged_model(skeleton: Path, weights: Path, frozen: list[str]) -> bytes:
    """Return the training graph with its frozen parameters in it; raises BadInputError."""
    try:
        return with_initializers(skeleton.read_bytes(), read_tensors(weights, frozen))
    except MalformedModelError as error:
        raise BadInputError(str(error)) from error


class TrainingSession:
    """``gradients`` fills a FlatTensors of the same layout as ``parameters``."""

    def __init__(
        self, model: bytes, parameters: FlatTensors, *, threads: int, arena: bool = True
    ) -> None:
        self._session = open_session(model, threads, arena=arena)
        self._parameters = parameters
        inputs = {node.name: node.shape for node in self._session.get_inputs()}
        self._check(inputs)
        mask = inputs.get(DROPOUT_MASK)
        self.features: int | None = None if mask is None else int(mask[1])
        self.units = int(self._session.get_outputs()[self._outputs.index(LOGITS)].shape[1])

    def require_units_for(self, n_classes: int) -> None:
        """Raise BadInputError unless the head answers for ``n_classes``; one unit means two."""
        if n_classes != max(2, self.units):
            raise BadInputError(
                f"the variant knows {max(2, self.units)} classes and the job names {n_classes}; "
                "name the variant's own classes"
            )

    def gradients(self, batch: MicroBatch, into: FlatTensors) -> float:
        """Write the gradients of ``batch`` over ``into`` and return its weighted loss."""
        binding = self._bound(batch)
        for name, view in into.views.items():
            binding.bind_output(
                GRADIENT_PREFIX + name, "cpu", 0, np.float32, view.shape, view.ctypes.data
            )
        binding.bind_output(LOSS, "cpu")
        self._session.run_with_iobinding(binding)
        return float(binding.get_outputs()[-1].numpy())

    def logits(self, images: Pixels) -> Floats:
        """Return the logits [n, k] of ``images``, dropout off."""
        n = images.shape[0]
        mask = None if self.features is None else np.ones((n, self.features), np.float32)
        batch = MicroBatch(
            images=images,
            labels=np.zeros(n, np.int64),
            weights=np.zeros(n, np.float32),
            dropout_mask=mask,
        )
        binding = self._bound(batch)
        binding.bind_output(LOGITS, "cpu")
        self._session.run_with_iobinding(binding)
        return np.asarray(binding.get_outputs()[0].numpy(), np.float32)

    def _bound(self, batch: MicroBatch) -> ort.IOBinding:
        binding = self._session.io_binding()
        feeds: dict[str, np.ndarray[Any, Any]] = {
            IMAGES: batch.images,
            LABELS: batch.labels,
            WEIGHTS: batch.weights,
            **self._parameters.views,
        }
        if batch.dropout_mask is not None:
            feeds[DROPOUT_MASK] = batch.dropout_mask
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        return binding

    def _check(self, inputs: Mapping[str, Any]) -> None:
        self._outputs = [node.name for node in self._session.get_outputs()]
        names = self._parameters.shapes
        wanted = {IMAGES, LABELS, WEIGHTS, *names}
        if set(inputs) - {DROPOUT_MASK} != wanted:
            odd = sorted(wanted ^ (set(inputs) - {DROPOUT_MASK}))[:3]
            raise BadInputError(f"the training graph and the job disagree on {odd}; fetch both")
        missing = {LOSS, LOGITS, *(GRADIENT_PREFIX + n for n in names)} - set(self._outputs)
        if missing:
            raise BadInputError(f"the training graph lacks outputs {sorted(missing)[:3]}")
