"""Artifacts by SHA-256 into a content-addressed cache: resumed, bounded, hashed while written.

A file appears under its hash only after length and hash were right and it was fsynced. What came
early to its end stays as ``<sha256>.part`` and is resumed; what was wrong is removed at once.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from contract.release import Artifact
from device_agent.disk.files import fsync_dir, is_whole_file, named_disk_errors
from device_agent.errors import (
    ArtifactError,
    DiskFullError,
    RefusedError,
    ServerAwayError,
    TruncatedError,
)
from device_agent.server.client import Download

_MARGIN_BYTES = 16_000_000
_GRACE_S = 60.0
_SLOWEST_BYTES_PER_S = 2048.0
_TRIES = 5
_PART = ".part"


class Source(Protocol):
    """Where artifacts come from: ``ServerClient.artifact`` or a test's own."""

    def __call__(self, sha256: str, offset: int) -> AbstractContextManager[Download]: ...


def _disk_free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class Cache:
    """The folder of artifacts. ``free_bytes`` and ``monotonic`` are the outside world."""

    folder: Path
    free_bytes: Callable[[Path], int] = _disk_free
    monotonic: Callable[[], float] = time.monotonic

    def path(self, artifact: Artifact) -> Path:
        return self.folder / artifact.sha256

    def holds(self, artifact: Artifact) -> bool:
        """Return whether the file is here whole; a damaged one is removed."""
        path = self.path(artifact)
        if not path.is_file():
            return False
        if is_whole_file(path, artifact.length_bytes, artifact.sha256):
            return True
        path.unlink()
        return False

    def fetch_all(self, artifacts: Iterable[Artifact], source: Source) -> None:
        """Fetch what is missing, after checking that all of it fits on the disk.

        Raises DiskFullError, ArtifactError, and what the source raises.
        """
        missing = [a for a in artifacts if not self.holds(a)]
        needed = sum(a.length_bytes - self._part_bytes(a) for a in missing)
        if missing and self.free_bytes(self.folder) < needed + _MARGIN_BYTES:
            raise DiskFullError(self.folder, needed + _MARGIN_BYTES)
        for artifact in missing:
            self._persist(artifact, source)

    def _persist(self, artifact: Artifact, source: Source) -> None:
        """Go on while a truncated body still brings something new."""
        for _ in range(_TRIES - 1):
            before = self._part_bytes(artifact)
            try:
                return self._fetch(artifact, source)
            except TruncatedError:
                if self._part_bytes(artifact) <= before:
                    raise
        return self._fetch(artifact, source)

    def _fetch(self, artifact: Artifact, source: Source) -> None:
        part = self._part(artifact)
        if self._part_bytes(artifact) >= max(artifact.length_bytes, 1):
            part.unlink()
        try:
            with (
                named_disk_errors(part),
                source(artifact.sha256, self._part_bytes(artifact)) as body,
            ):
                digest = self._write(artifact, body)
        except TruncatedError:
            raise
        except (ArtifactError, RefusedError):
            part.unlink(missing_ok=True)
            raise
        if digest != artifact.sha256:
            part.unlink(missing_ok=True)
            message = f"the server sent a forged or damaged {artifact.kind}; nothing was kept"
            raise ArtifactError(message)
        part.replace(self.path(artifact))
        fsync_dir(self.folder)

    def _write(self, artifact: Artifact, body: Download) -> str:
        part = self._part(artifact)
        have = self._part_bytes(artifact)
        if body.offset not in {0, have}:
            message = f"the server resumed {artifact.kind} at the wrong place"
            raise ArtifactError(message)
        with part.open("r+b" if part.exists() else "w+b") as stream:
            stream.truncate(body.offset)
            hasher = _Hasher(stream)
            try:
                self._copy(artifact, body, hasher)
            finally:
                with contextlib.suppress(OSError):
                    stream.flush()
                    os.fsync(stream.fileno())
        if hasher.length_bytes < artifact.length_bytes:
            message = (
                f"{artifact.kind} ended after {hasher.length_bytes} of {artifact.length_bytes} "
                "bytes; the part is kept and will be resumed"
            )
            raise TruncatedError(message)
        return hasher.digest.hexdigest()

    def _copy(self, artifact: Artifact, body: Download, hasher: "_Hasher") -> None:
        start, first = self.monotonic(), hasher.length_bytes
        try:
            for chunk in body.chunks:
                if hasher.length_bytes + len(chunk) > artifact.length_bytes:
                    message = (
                        f"{artifact.kind} is longer than the catalogue promised; it was dropped"
                    )
                    raise ArtifactError(message)
                hasher.write(chunk)
                self._refuse_a_drip(start, hasher.length_bytes - first)
        except ServerAwayError as exc:
            message = f"{artifact.kind} broke off ({exc}); the part is kept and will be resumed"
            raise TruncatedError(message) from exc

    def _refuse_a_drip(self, start: float, received_bytes: int) -> None:
        spent_s = self.monotonic() - start
        if spent_s > _GRACE_S + received_bytes / _SLOWEST_BYTES_PER_S:
            message = "the server drips under 2 kB/s; the part is kept and will be resumed"
            raise TruncatedError(message)

    def _part(self, artifact: Artifact) -> Path:
        return self.folder / f"{artifact.sha256}{_PART}"

    def _part_bytes(self, artifact: Artifact) -> int:
        part = self._part(artifact)
        return part.stat().st_size if part.exists() else 0

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove every file whose hash is not in ``keep``; return the names removed."""
        removed = []
        for path in sorted(self.folder.iterdir()):
            if path.name.removesuffix(_PART) not in keep:
                path.unlink(missing_ok=True)
                removed.append(path.name)
        return removed


class _Hasher:
    """Writes and hashes at once, beginning with what a resumed file already holds."""

    def __init__(self, stream: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.length_bytes = 0
        self._stream = stream
        stream.seek(0)
        while chunk := stream.read(1 << 18):
            self.digest.update(chunk)
            self.length_bytes += len(chunk)

    def write(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self.digest.update(chunk)
        self.length_bytes += len(chunk)
