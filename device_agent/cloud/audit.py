"""A random sample of what the box judged, kept on the box for a person to look at. It never leaves.

Each sample is two files of one name: the image as it came, and what was said of it (JSON). The
folder never holds more than its quota: the oldest go first. A disk that is full or unwritable costs
samples, never a prediction. Nothing is flushed to the disk: a sample lost with the power is none.
"""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from random import Random

import structlog

from contract.inference import Prediction

log = structlog.get_logger()
SPARE_BYTES = 100_000_000
"""Left free on the disk, whatever the quota: models and reports come first."""
_LOCK = ".lock"
_SUFFIXES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp"}


class Audit:
    """Thread-safe, and safe beside another process on the same folder."""

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        now: Callable[[], datetime],
        chance: Random,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._now = now
        self._chance = chance
        self._spare_bytes = spare_bytes

    def sample(self, image: bytes, prediction: Prediction, share: float) -> bool:
        """Keep ``share`` of the images, by chance; return whether this one was kept."""
        if self._chance.random() >= share:
            return False
        try:
            return self._keep(image, self._describe(prediction))
        except OSError as exc:
            log.warning("audit_skipped", reason=str(exc))
            return False

    def _describe(self, prediction: Prediction) -> bytes:
        facts = prediction.model_dump(mode="json") | {"time": self._now().isoformat()}
        return json.dumps(facts, indent=1).encode()

    def _keep(self, image: bytes, facts: bytes) -> bool:
        need_bytes = len(image) + len(facts)
        if need_bytes > self._quota_bytes:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(self._folder):
            make_room(self._folder, self._quota_bytes - need_bytes)
            if shutil.disk_usage(self._folder).free < need_bytes + self._spare_bytes:
                log.warning("audit_skipped", reason="the disk is nearly full")
                return False
            name = f"{self._now():%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
            with contextlib.ExitStack() as undo:
                for suffix, content in ((suffix_of(image), image), (".json", facts)):
                    path = self._folder / f"{name}{suffix}"
                    undo.callback(path.unlink, missing_ok=True)
                    _write(path, content)
                undo.pop_all()
        return True


def make_room(folder: Path, left_bytes: int) -> None:
    """Remove the oldest samples until the folder holds at most ``left_bytes``."""
    with os.scandir(folder) as entries:
        sizes = {e.name: e.stat(follow_symlinks=False).st_size for e in entries if e.name != _LOCK}
    held_bytes = sum(sizes.values())
    for _, names in itertools.groupby(sorted(sizes), lambda name: name.partition(".")[0]):
        if held_bytes <= left_bytes:
            return
        for name in names:
            (folder / name).unlink(missing_ok=True)
            held_bytes -= sizes[name]


def count_samples(folder: Path) -> dict[str, int]:
    """Return how many samples a folder holds, and their bytes."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat(follow_symlinks=False).st_size) for e in entries]
    except OSError:
        return {"samples": 0, "bytes": 0}
    samples = sum(name.endswith(".json") for name, _ in found)
    return {"samples": samples, "bytes": sum(size for _, size in found)}


def suffix_of(image: bytes) -> str:
    """Return the usual end of a file's name by its first bytes."""
    return next((end for magic, end in _SUFFIXES.items() if image.startswith(magic)), ".img")


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against the threads and processes that keep samples too."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
