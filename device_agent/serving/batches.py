"""Many decoded tiles on a model of this box, in batches that suit its engine and its memory.

On the CPU a batch is one tile. Without a memory arena larger ones were not faster for any starter
model: 16 at once took 0.19 instead of 0.11 ms of processor time a tile on the smallest, and 9.3
instead of 4.8 ms on the largest; and memory grows with the batch. An accelerator is fed more.
"""

from typing import TYPE_CHECKING

from device_agent.serving.predict import LocalModel, ModelFailedError, probabilities
from device_agent.serving.runtime import FallingBackSession, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_ACCELERATED = 16
BYTES_A_PIXEL = 200
"""Memory of a tile in a batch, for each pixel of the model's input: 120 to 200 were measured."""


def batch_for(session: Session, input_px: int, free_bytes: int) -> int:
    """Return how many tiles to give to the model at once; at least one."""
    if not (isinstance(session, FallingBackSession) and session.is_accelerated):
        return 1
    return max(1, min(MOST_ACCELERATED, free_bytes // (BYTES_A_PIXEL * input_px * input_px)))


def judge(model: LocalModel, tiles: "NDArray[np.uint8]", batch: int) -> "NDArray[np.float64]":
    """Return the probabilities [n, classes] of ``tiles`` [n, px, px, channels].

    Raises ModelFailedError.
    """
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    rows = np.empty((len(tiles), len(model.manifest.classes)))
    for start in range(0, len(tiles), batch):
        logits = _run(model, tiles[start : start + batch])
        for offset, row in enumerate(logits):
            rows[start + offset] = probabilities(row)
    return rows


def _run(model: LocalModel, tiles: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    try:
        logits: NDArray[np.float32] = model.session.run(["logits"], {"images": tiles})[0]
    except Exception as exc:
        message = f"the model {model.manifest.model_id} failed: {exc}"
        raise ModelFailedError(message) from exc
    return logits
