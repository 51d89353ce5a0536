"""Images as uint8 rows of an unnamed file: on disk, read a micro-batch at a time.

Kept in memory, 2,000 test images of 128 px would weigh 98 MB, more than all the rest of a small
job. Read with ``pread`` they cost a micro-batch, and 10 to 20 microseconds an image from the page
cache. The file has no name, so nothing is left behind however the process ends.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from models.finetune.batches import Indices, Pixels, oriented
from models.finetune.files import translated_write_errors

_NAME = ".pixels.partial"


class PixelStore:
    """Square images [px, px, channels], appended once and read by number."""

    def __init__(self, folder: Path, px: int, channels: int) -> None:
        self._path = folder / _NAME
        self._shape = (px, px, channels)
        self._row_bytes = px * px * channels
        self.length = 0
        with translated_write_errors(self._path):
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)

    def append(self, image: Pixels) -> None:
        """Add one image [px, px, channels]; raises DiskFullError."""
        left = np.ascontiguousarray(image).data.cast("B")
        at = self.length * self._row_bytes
        with translated_write_errors(self._path):
            while left:
                written = os.pwrite(self._handle, left, at)
                left, at = left[written:], at + written
        self.length += 1

    def read(self, rows: Indices, orientations: Indices | None = None) -> Pixels:
        """Return the images at ``rows`` [n, px, px, channels], turned as ``orientations`` say."""
        found = np.empty((rows.size, *self._shape), np.uint8)
        for place, row in enumerate(rows.tolist()):
            view = found[place]
            read = os.preadv(self._handle, [view.data], row * self._row_bytes)
            if read != self._row_bytes:
                message = f"image {row} is short: {read} of {self._row_bytes} bytes"
                raise OSError(message)
            if orientations is not None and orientations[place]:
                view[...] = oriented(view.copy(), int(orientations[place]))
        return found
