"""Bytes of an image to the array that a graph takes, with caps checked before decoding.

The pixels are exactly those that the fine-tune program trains on (``models.data.folder``): a test
holds the two together, since no program imports another.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from device_agent.errors import BadImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MOST_BYTES = 20_000_000
MOST_PIXELS = 40_000_000
_MODES = {1: "L", 3: "RGB"}
_DRAFT_SCALE = 2
_PNG = b"\x89PNG\r\n\x1a\n"
_MAGIC = {_PNG: "image/png", b"\xff\xd8\xff": "image/jpeg"}


def decode(data: bytes, input_px: int, channels: int) -> "NDArray[np.uint8]":
    """Return uint8 [1, input_px, input_px, channels], stretched; raises BadImageError."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    if len(data) > MOST_BYTES:
        message = f"the image has {len(data)} bytes; at most {MOST_BYTES} are taken"
        raise BadImageError(message)
    _refuse_channels(channels)
    array: NDArray[np.uint8] = np.asarray(_resized(data, input_px, channels), dtype=np.uint8)
    return array.reshape(1, input_px, input_px, channels)


def fit(pixels: "NDArray[np.uint8]", input_px: int, channels: int) -> "NDArray[np.uint8]":
    """Return uint8 [input_px, input_px, channels] of decoded ``pixels`` [height, width, 1 or 3].

    Pixels that fit already are returned as they are; others are stretched as ``decode`` does.
    """
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    if pixels.shape == (input_px, input_px, channels):
        return pixels
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return square(Image.fromarray(flat), input_px, channels)


def square(image: "Image.Image", input_px: int, channels: int) -> "NDArray[np.uint8]":
    """Return uint8 [input_px, input_px, channels] of an open image; raises BadImageError."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    _refuse_channels(channels)
    array: NDArray[np.uint8] = np.asarray(_stretched(image, input_px, channels), dtype=np.uint8)
    return array.reshape(input_px, input_px, channels)


def for_the_cloud(data: bytes) -> tuple[bytes, str]:
    """Return the image as PNG or JPEG, which is what the server takes, and its media type."""
    for magic, media_type in _MAGIC.items():
        if data.startswith(magic) and not _is_wide_grey_png(data):
            return data, media_type
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    with named_image_errors(), Image.open(io.BytesIO(data)) as image:
        _refuse_a_bomb(image.width, image.height)
        stream = io.BytesIO()
        eight_bits(image).convert("RGB").save(stream, "PNG")
    return stream.getvalue(), "image/png"


def _resized(data: bytes, input_px: int, channels: int) -> Any:  # noqa: ANN401 - PIL loads lazily
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    with named_image_errors(), Image.open(io.BytesIO(data)) as image:
        _refuse_a_bomb(image.width, image.height)
        image.draft(_MODES[channels], (input_px * _DRAFT_SCALE, input_px * _DRAFT_SCALE))
        return _stretched(image, input_px, channels)


def _stretched(image: "Image.Image", input_px: int, channels: int) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    as_trained = eight_bits(image).convert(_MODES[channels])
    return as_trained.resize((input_px, input_px), Image.Resampling.BILINEAR)


def eight_bits(image: "Image.Image") -> "Image.Image":
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip it to white."""
    if not image.mode.startswith("I"):
        return image
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it
    from PIL import Image  # noqa: PLC0415 - an idle agent does not pay for it

    wide = np.clip(np.asarray(image, np.int64), 0, 0xFFFF)
    return Image.fromarray((wide >> 8).astype(np.uint8))


def _is_wide_grey_png(data: bytes) -> bool:
    """Return whether a PNG's header says grey of 16 bits (depth and colour type, PNG 11.2.2)."""
    return data.startswith(_PNG) and data[24:26] == b"\x10\x00"


@contextlib.contextmanager
def named_image_errors() -> Iterator[None]:
    """Turn whatever the library raises about a file into BadImageError."""
    try:
        yield
    except BadImageError:
        raise
    except Exception as exc:
        message = f"this is no image that can be read ({type(exc).__name__}); send JPEG, PNG or BMP"
        raise BadImageError(message) from exc


def _refuse_channels(channels: int) -> None:
    if channels not in _MODES:
        message = f"the model takes {channels} channels; this agent reads images of 1 or 3"
        raise BadImageError(message)


def _refuse_a_bomb(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        message = f"the image has {width} x {height} pixels; at most 40 million are taken"
        raise BadImageError(message)
