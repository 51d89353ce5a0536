"""Reads the images of a folder one at a time and keeps a few facts of each, never its pixels."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from contract.reference import STATISTICS_PX
from device_agent.errors import BadImageError, DataUnusableError
from device_agent.machine.profile import CLASSES, count_images, is_image
from device_agent.quality.fingerprint import Fingerprint, fingerprint
from device_agent.quality.statistics import statistics_of
from device_agent.serving.images import MOST_BYTES, decode

Side = Literal["data", "test"]


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """A file of one class in one of the two folders."""

    side: Side
    label: str
    path: Path

    @property
    def name(self) -> str:
        """Such as ``ok/1.png``; what no terminal or JSON can show is a question mark."""
        shown = "".join(c if c.isprintable() else "?" for c in self.path.name)
        return f"{'test:' if self.side == 'test' else ''}{self.label}/{shown}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of an image that can be read; about a kilobyte."""

    file: ImageFile
    width_px: int
    height_px: int
    sha256: bytes
    print: Fingerprint
    statistics: dict[str, float]


def list_files(folder: Path, side: Side) -> list[ImageFile]:
    """Return the images as the trainer would find them, by class and name.

    Raises DataUnusableError where the folder cannot be read or holds neither class.
    """
    count_images(folder)
    if not any((folder / label).is_dir() for label in CLASSES):
        message = f"{folder} holds neither ok/ nor defect/; put the images into these"
        raise DataUnusableError(message)
    return [
        ImageFile(side=side, label=label, path=path)
        for label in CLASSES
        if (folder / label).is_dir()
        for path in sorted((folder / label).iterdir())
        if is_image(path.name) and path.is_file()
    ]


def look_at(file: ImageFile) -> Seen:
    """Return the facts of one image; raises BadImageError."""
    data = read_image(file.path)
    pixels = decode(data, STATISTICS_PX, 3)[0]
    width_px, height_px = _size(data)
    return Seen(
        file=file,
        width_px=width_px,
        height_px=height_px,
        sha256=hashlib.sha256(data).digest(),
        print=fingerprint(pixels),
        statistics=statistics_of(pixels),
    )


def read_image(path: Path) -> bytes:
    """Return a file's bytes, none of them read where they are too many; raises BadImageError."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            message = f"the file has {size} bytes; at most {MOST_BYTES} are taken"
            raise BadImageError(message)
        return path.read_bytes()
    except OSError as exc:
        raise BadImageError(f"the file cannot be read: {exc.strerror}") from exc


def _size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def look_at_all(files: list[ImageFile]) -> Iterator[tuple[ImageFile, Seen | str]]:
    """Yield each file with what was seen, or with why it cannot be read."""
    for file in files:
        try:
            yield file, look_at(file)
        except BadImageError as exc:
            yield file, str(exc)
