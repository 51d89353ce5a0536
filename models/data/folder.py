"""Reads labelled images from a folder that holds one sub-folder per class.

Runs on the box: numpy and Pillow alone, one image in memory at a time, a pixel cap checked before
decoding. It neither splits nor augments; see `split` and `duplicates`.
"""

import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_RGB_CHANNELS = 3
_DRAFT_SCALE = 2
_SHOWN_NAMES = 5
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


class DataFolderError(ValueError):
    """The folder cannot be used as it is; the message says what to change."""


class UnreadableFolderError(DataFolderError):
    """The folder is absent, is no folder, or may not be listed."""

    def __init__(self, folder: Path, why: str) -> None:
        self.folder = folder
        super().__init__(
            f"cannot read the folder {folder} ({why}): check the path and its permissions"
        )


class MissingClassFolderError(DataFolderError):
    """A class has no sub-folder."""

    def __init__(self, folder: Path, missing: Sequence[str], found: Sequence[str]) -> None:
        self.folder = folder
        self.missing = tuple(missing)
        super().__init__(
            f"{folder} has no sub-folder {', '.join(missing)} (it has: {_listed(found)}): "
            "put the images of each class into a sub-folder of that name"
        )


class EmptyClassError(DataFolderError):
    """A class folder holds no image file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        super().__init__(f"{folder} holds no image: add images of that class ({kinds})")


class SingleClassError(DataFolderError):
    """Fewer than two classes were asked for, so there is nothing to tell apart."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        super().__init__(
            f"training needs at least two classes, this job names {len(classes)} "
            f"({_listed(classes)}): name one sub-folder per class"
        )


class TooFewReadableError(DataFolderError):
    """So many images were unreadable that a class is left with too few."""

    def __init__(self, label: str, n_left: int, n_least: int, dropped: Sequence[Path]) -> None:
        self.label = label
        self.dropped = tuple(dropped)
        super().__init__(
            f"class {label} has {n_left} readable images and needs {n_least}; unreadable: "
            f"{_listed([p.name for p in dropped])}. Replace those files or add "
            f"{n_least - n_left} more images"
        )


class UnreadableImageError(ValueError):
    """One image cannot be decoded. The caller may go on without it."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"cannot read the image {path} ({why}): replace or remove it")


class TooManyPixelsError(UnreadableImageError):
    """One image is larger than the pixel cap; it was not decoded."""

    def __init__(self, path: Path, width_px: int, height_px: int) -> None:
        super().__init__(path, f"{width_px} x {height_px} px is over {MAX_PIXELS} pixels")


@dataclass(frozen=True)
class LabelledFile:
    """An image file and the index of its class."""

    path: Path
    label: int


def scan_folder(folder: Path, classes: Sequence[str]) -> list[LabelledFile]:
    """List the images of every class, sorted by name within the class.

    Files that are hidden or have another suffix are passed over. Raises a `DataFolderError`.
    """
    if len(set(classes)) < 2:  # noqa: PLR2004  (one class cannot be told from nothing)
        raise SingleClassError(classes)
    present = [entry.name for entry in _entries(folder) if entry.is_dir()]
    missing = [name for name in classes if name not in present]
    if missing:
        raise MissingClassFolderError(folder, missing, present)
    return [
        LabelledFile(path, label)
        for label, name in enumerate(classes)
        for path in _images(folder / name)
    ]


def load_image(path: Path, px: int, channels: int) -> Pixels:
    """Return the image as uint8 [px, px, channels], stretched to the square (bilinear).

    ``channels`` is 3 (RGB) or 1 (grey). A large JPEG is decoded at a reduced scale, never below
    twice the size asked for. Raises `UnreadableImageError`.
    """
    mode = "RGB" if channels == _RGB_CHANNELS else "L"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of, we check or raise
            with Image.open(path) as image:
                return _decoded(image, path, px, mode)
    except Image.DecompressionBombError as exc:
        raise UnreadableImageError(path, f"it is over {MAX_PIXELS} pixels") from exc
    except UnreadableImageError:
        raise
    except _DECODE_ERRORS as exc:
        raise UnreadableImageError(path, f"{type(exc).__name__}: {exc}") from exc


def load_each(
    files: Sequence[LabelledFile], px: int, channels: int, dropped: list[Path]
) -> Iterator[tuple[LabelledFile, Pixels]]:
    """Yield every readable image with its file; append the others' paths to ``dropped``."""
    for file in files:
        try:
            yield file, load_image(file.path, px, channels)
        except UnreadableImageError:
            dropped.append(file.path)


def require_enough(
    labels: Sequence[int], classes: Sequence[str], dropped: Sequence[Path], *, least: int
) -> None:
    """Raise `TooFewReadableError` if a class has fewer than ``least`` readable images."""
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            raise TooFewReadableError(name, int(count), least, dropped)


def _decoded(image: Image.Image, path: Path, px: int, mode: str) -> Pixels:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise TooManyPixelsError(path, width, height)
    image.draft(mode, (px * _DRAFT_SCALE, px * _DRAFT_SCALE))
    plain = _eight_bits(image) if image.mode.startswith("I") else image
    small = plain.convert(mode).resize((px, px), Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8).reshape(px, px, len(mode))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip it to white."""
    wide = np.clip(np.asarray(image, np.int64), 0, 0xFFFF)
    return Image.fromarray((wide >> 8).astype(np.uint8))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as exc:
        raise UnreadableFolderError(folder, exc.strerror or type(exc).__name__) from exc


def _images(folder: Path) -> list[Path]:
    found = [
        path
        for path in _entries(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    if not found:
        raise EmptyClassError(folder)
    return found


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
