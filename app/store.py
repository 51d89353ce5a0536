"""Where artifacts lie: content-addressed files, written whole or not at all.

``ArtifactStore`` is what the rest of the server knows; ``LocalStore`` keeps a local folder. A
name is always the SHA-256 of the content, so no caller's text ever becomes a path.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from app.errors import BadReleaseError, NotFoundError
from contract.release import Artifact

CHUNK_BYTES = 1 << 20


class ArtifactStore(Protocol):
    """Content-addressed files."""

    location: str

    def add(self, source: Path, artifact: Artifact) -> None:
        """Copy ``source`` in; raises BadReleaseError when length or hash differ."""

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
        """Copy with a bounded, hashing read into a temporary file, fsync, then rename."""
        target = self._path(artifact.sha256)
        if target.is_file() and target.stat().st_size == artifact.length_bytes:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
            temporary = Path(copy.name)
            try:
                _copy_checked(source, copy.fileno(), artifact)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
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


def _copy_checked(source: Path, target: int, artifact: Artifact) -> None:
    digest, seen = hashlib.sha256(), 0
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                seen += len(chunk)
                if seen > artifact.length_bytes:
                    break
                digest.update(chunk)
                os.write(target, chunk)
    except OSError as exc:
        raise BadReleaseError(f"Cannot copy {source.name}: {exc.strerror}.") from exc
    if seen != artifact.length_bytes:
        promised = artifact.length_bytes
        raise BadReleaseError(f"{source.name} is not {promised} bytes long as the release says.")
    if digest.hexdigest() != artifact.sha256:
        raise BadReleaseError(f"{source.name} does not hash to its name; copy the folder again.")
    os.fsync(target)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
