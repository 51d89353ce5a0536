"""A picture of a whole board: opened within the box's memory, cut into tiles, drawn upon.

The library decodes a picture as a whole, so its size is checked against the free memory before
that; everything after it goes tile by tile, and the picture that is drawn is a smaller one where
the board's is large.
"""

import contextlib
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.disk.files import fsync_dir, named_disk_errors
from device_agent.errors import BadImageError
from device_agent.serving.images import eight_bits, named_image_errors, square
from device_agent.serving.tiling import Box, Finding, HeatMap
from device_agent.sizes import format_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MOST_PIXELS = 100_000_000
_MOST_DRAWN = 16_000_000
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "LA": 4}
_WORST_BYTES = 4
_DRAWN_BYTES = 9
"""The drawn copy takes 4 bytes a pixel, its heat 1, and colours pass through 4 more."""
_HEAT = (230, 20, 20)
_FRAME = (255, 225, 0)
_STRONGEST = 150


class Board:
    """An open picture. ``tile`` returns a part as the model takes it."""

    def __init__(self, image: "Image.Image") -> None:
        self._image = image
        self.width, self.height = image.size

    def tile(self, box: Box, input_px: int, channels: int) -> "NDArray[np.uint8]":
        """Return uint8 [input_px, input_px, channels], stretched as training stretches a tile."""
        part = self._image.crop((box.left, box.top, box.right, box.bottom))
        return square(part, input_px, channels)

    def drawn(self, heat_map: HeatMap, found: list[Finding]) -> "Image.Image":
        """Return a copy in colour: heat in red, its strength the value's square; frames."""
        from PIL import Image, ImageDraw  # noqa: PLC0415 - an idle agent does not pay for it

        scale = drawn_scale(self.width, self.height)
        picture = self._small(scale)
        mask = Image.new("L", picture.size)
        shade = ImageDraw.Draw(mask)
        for cell, value in heat_map.cells():
            if (strength := round(_STRONGEST * min(max(value, 0.0), 1.0) ** 2)) > 0:
                shade.rectangle(_scaled(cell, scale), fill=strength)
        picture.paste(_HEAT, (0, 0, *picture.size), mask)
        frame = ImageDraw.Draw(picture)
        width = max(2, min(picture.size) // 300)
        for finding in found:
            corners = _scaled(finding.box, scale)
            frame.rectangle(corners, outline=_FRAME, width=width)
            frame.text((corners[0] + 2 * width, corners[1] + width), f"{finding.score:.0%}", _FRAME)
        return picture

    def _small(self, scale: int) -> "Image.Image":
        """Return the picture in 8-bit colour, ``scale`` times smaller, never a large copy."""
        if self._image.mode in {"RGB", "L"}:
            return self._image.reduce(scale).convert("RGB")
        from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

        small = Image.new("RGB", (-(-self.width // scale), -(-self.height // scale)))
        step = 256 * scale
        for top in range(0, self.height, step):
            strip = self._image.crop((0, top, self.width, min(top + step, self.height)))
            small.paste(eight_bits(strip).convert("RGB").reduce(scale), (0, top // scale))
        return small


def drawn_scale(width: int, height: int) -> int:
    """Return by what whole number the drawn picture is smaller than the board's."""
    return math.ceil(math.sqrt(max(1.0, width * height / _MOST_DRAWN)))


def _scaled(box: Box, scale: int) -> tuple[int, int, int, int]:
    """Return the corners on the drawn picture, the last ones within it."""
    left, top = box.left // scale, box.top // scale
    return left, top, max(left, -(-box.right // scale) - 1), max(top, -(-box.bottom // scale) - 1)


def memory_for(width: int, height: int, mode: str) -> int:
    """Return the bytes that a board takes at most: decoded, and the copy that is drawn."""
    pixels = width * height
    drawn = -(-width // (scale := drawn_scale(width, height))) * -(-height // scale)
    return pixels * _BYTES.get(mode, _WORST_BYTES) + drawn * _DRAWN_BYTES


@contextlib.contextmanager
def open_board(path: Path, free_bytes: int) -> Iterator[Board]:
    """Open a picture of at most 100 million pixels; raises BadImageError before it is decoded."""
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    with contextlib.ExitStack() as stack:
        with named_image_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = stack.enter_context(Image.open(path))
            _refuse(image.width, image.height, image.mode, free_bytes)
            image.load()
        yield Board(image)


def _refuse(width: int, height: int, mode: str, free_bytes: int) -> None:
    if width * height > MOST_PIXELS:
        message = f"the board has {width} x {height} pixels; at most 100 million are taken"
        raise BadImageError(message)
    needed_bytes = memory_for(width, height, mode)
    if needed_bytes > free_bytes:
        message = (
            f"a board of {width} x {height} pixels needs {format_size(needed_bytes)} of memory, "
            f"{format_size(free_bytes)} are free; inspect it in parts or at a lower resolution"
        )
        raise BadImageError(message)


def save_picture(picture: "Image.Image", path: Path) -> None:
    """Write a PNG whole or not at all; raises DiskFullError, StateError."""
    with named_disk_errors(path):
        descriptor, temp_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                picture.save(stream, "PNG", compress_level=1)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temp_name).chmod(0o644)
            Path(temp_name).replace(path)
        except BaseException:
            Path(temp_name).unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)
