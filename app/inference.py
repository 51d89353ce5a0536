"""Running a release's inference graph on one image, bounded in size, threads and queue.

The graph takes uint8 NHWC and scales by itself, so a caller only decodes and stretches, to exactly
the pixels that the fine-tune program trains on (``models.data.folder``): no program imports
another, so a test holds the two together. Nothing here knows of HTTP or of who calls.
"""

import asyncio
import io
import struct
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from app.errors import BusyError, InvalidInputError, TooLargeError, UnsupportedImageError
from app.store import ArtifactStore
from contract.inference import Prediction
from contract.release import Variant

SESSIONS_KEPT = 4
FORMATS = ("PNG", "JPEG")
MODES = {1: "L", 3: "RGB"}
DRAFT_SCALE = 2
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    struct.error,
    OverflowError,
)


class Predictor:
    """Predicts in a pool of ``threads``; at most ``queue`` more may wait, others get BusyError."""

    def __init__(self, store: ArtifactStore, *, threads: int, queue: int, max_pixels: int) -> None:
        self._store = store
        self._max_pixels = max_pixels
        self._room = threads + queue
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="inference")
        self._sessions: OrderedDict[str, ort.InferenceSession] = OrderedDict()
        self._lock = threading.Lock()

    async def predict(self, image: bytes, variant: Variant, release_number: int) -> Prediction:
        """Return the prediction; raises UnsupportedImageError, TooLargeError or BusyError."""
        if self._room <= 0:
            raise BusyError("Too many images wait for inference.")
        self._room -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._pool, self._predict, image, variant, release_number
            )
        finally:
            self._room += 1

    def _predict(self, image: bytes, variant: Variant, release_number: int) -> Prediction:
        started_s = time.perf_counter()
        spec = variant.spec
        pixels = decode(
            image, px=spec.input_px, channels=spec.in_channels, max_pixels=self._max_pixels
        )
        (logits,) = self._session(variant).run(["logits"], {"images": pixels[np.newaxis]})
        probabilities = class_probabilities(np.asarray(logits, dtype=np.float64)[0])
        by_class = dict(zip(variant.classes, probabilities, strict=True))
        return Prediction(
            label=max(by_class, key=lambda name: by_class[name]),
            probabilities=by_class,
            variant=variant.name,
            release_number=release_number,
            latency_ms=1000 * (time.perf_counter() - started_s),
            source="cloud",
        )

    def _session(self, variant: Variant) -> ort.InferenceSession:
        sha256 = variant.inference.sha256
        with self._lock:
            if sha256 not in self._sessions:
                self._sessions[sha256] = self._open(sha256)
            self._sessions.move_to_end(sha256)
            while len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
            return self._sessions[sha256]

    def _open(self, sha256: str) -> ort.InferenceSession:
        content = b"".join(self._store.read(sha256, 0, self._store.length_bytes(sha256)))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def close(self) -> None:
        """Wait for the images in hand."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def decode(image: bytes, *, px: int, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    """Return uint8 [px, px, channels]; the pixel count is checked before anything is decoded."""
    if channels not in MODES:
        raise InvalidInputError(f"This variant takes {channels} channels; no image file has them.")
    try:
        with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise TooLargeError(
                    f"The image has {width} x {height} pixels; at most {max_pixels} are accepted."
                )
            stretched = _stretched(opened, px, MODES[channels])
    except Image.DecompressionBombError as exc:
        raise TooLargeError(f"The image has over {max_pixels} pixels.") from exc
    except UNREADABLE as exc:
        raise UnsupportedImageError("This is not a readable PNG or JPEG image.") from exc
    return np.asarray(stretched, dtype=np.uint8).reshape(px, px, channels)


def _stretched(image: Image.Image, px: int, mode: str) -> Image.Image:
    """Decode and stretch; a large JPEG at a reduced scale, never below twice the size asked for."""
    image.draft(mode, (px * DRAFT_SCALE, px * DRAFT_SCALE))
    plain = _eight_bits(image) if image.mode.startswith("I") else image
    return plain.convert(mode).resize((px, px), Image.Resampling.BILINEAR)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip it to white."""
    wide = np.clip(np.asarray(image, np.int64), 0, 0xFFFF)
    return Image.fromarray((wide >> 8).astype(np.uint8))


def class_probabilities(logits: NDArray[np.float64]) -> list[float]:
    """Return softmax over the classes, or (1 - p, p) for a single logit."""
    if logits.shape[0] == 1:
        positive = float(1.0 / (1.0 + np.exp(-np.clip(logits[0], -500.0, 500.0))))
        return [1.0 - positive, positive]
    shifted = np.exp(logits - logits.max())
    return [float(value) for value in shifted / shifted.sum()]
