"""Where artifacts lie: content-addressed files, written whole or not at all.

``ArtifactStore`` is what the rest of the server knows; ``LocalStore`` keeps a local folder. A
name is always the SHA-256 of the content, so no caller's text ever becomes a path.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from app.errors import BadReleaseError, NotFoundError, StorageFullError
from contract.release import Artifact

CHUNK_BYTES = 1 << 20
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class ArtifactStore(Protocol):
    """Content-addressed files."""

    location: str

    def add(self, source: Path, artifact: Artifact) -> None:
        """Copy ``source`` in, unless it is there whole already.

        Raises BadReleaseError when length or hash differ and StorageFullError without room.
        """

    def length_bytes(self, sha256: str) -> int:
        """Return the length; raises NotFoundError."""

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` up to ``stop`` in chunks; raises NotFoundError."""


class LocalStore:
    """Artifacts in a folder: ``<first two digits>/<sha256>``."""

    location = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, source: Path, artifact: Artifact) -> None:
        """Copy with a bounded, hashing read into a temporary file, fsync, then rename.

        What lies there is hashed too, so that loading a release again mends a damaged file.
        """
        target = self._path(artifact.sha256)
        if _is_whole(target, artifact):
            return
        with _named_full_disk(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(source, target, artifact)
            _sync_folder(target.parent)

    def length_bytes(self, sha256: str) -> int:
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError as exc:
            raise NotFoundError("artifact", sha256) from exc

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        with self._path(sha256).open("rb") as file:
            file.seek(start)
            left = stop - start
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def _is_whole(path: Path, artifact: Artifact) -> bool:
    if not path.is_file() or path.stat().st_size != artifact.length_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256


@contextmanager
def _named_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise StorageFullError(folder) from exc
        raise


def _write_whole(source: Path, target: Path, artifact: Artifact) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as copy:
            _copy_checked(source, copy, artifact)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _copy_checked(source: Path, copy: BinaryIO, artifact: Artifact) -> None:
    digest, seen = hashlib.sha256(), 0
    for chunk in _chunks(source):
        seen += len(chunk)
        if seen > artifact.length_bytes:
            break
        digest.update(chunk)
        copy.write(chunk)
    if seen != artifact.length_bytes:
        promised = artifact.length_bytes
        raise BadReleaseError(f"{source.name} is not {promised} bytes long as the release says.")
    if digest.hexdigest() != artifact.sha256:
        raise BadReleaseError(f"{source.name} does not hash to its name; copy the folder again.")


def _chunks(source: Path) -> Iterator[bytes]:
    """Yield a release's file; only what goes wrong in reading it is the release's fault."""
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as exc:
        raise BadReleaseError(f"Cannot copy {source.name}: {exc.strerror}.") from exc


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
