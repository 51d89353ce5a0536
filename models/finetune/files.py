"""Files that are either the old one or the new one, whole, whatever happens in between.

Write to a temporary name in the same folder, fsync, rename, fsync the folder. A full disk becomes
DiskFullError; the temporary file is removed. Reading and formats live elsewhere.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from models.finetune.errors import BadInputError, DiskFullError, FolderBusyError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHUNK_BYTES = 1 << 18
_RESERVE_FILE = ".reserve"
_RESERVE_BYTES = 32 * 1024
_LOCK_FILE = ".lock"
_LOCK_WAIT_S, _LOCK_POLL_S = 30.0, 0.1


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Replace ``path`` by what ``write`` puts into the temporary path that it is given.

    Raises DiskFullError, or BadInputError when the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with translated_write_errors(path):
        try:
            write(temporary)
            _flush(temporary)
            os.replace(temporary, path)  # noqa: PTH105 - beside its fsyncs, as man 2 has it
        finally:
            temporary.unlink(missing_ok=True)
        _flush(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``; errors as ``write_whole``."""
    write_whole(path, lambda temporary: _write_all(temporary, content))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read in small pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def translated_write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing ``path`` into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(str(path)) from error
        raise BadInputError(f"cannot write {path}: {error}; check output_dir") from error


def _write_all(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Reserve:
    """A small file that is given up when the disk is full, so that the result still fits."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _RESERVE_FILE

    def __enter__(self) -> None:
        with translated_write_errors(self._path):
            self._path.write_bytes(bytes(_RESERVE_BYTES))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Remove the file, if it is there."""
        self._path.unlink(missing_ok=True)


@contextmanager
def sole_use(folder: Path, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
    """Hold ``folder`` against other fine-tunes; raises FolderBusyError after ``wait_s``.

    The kernel drops the lock when its holder dies, so nothing stale is left. Waiting covers an
    orphan, which ends at its next progress line.
    """
    deadline = time.monotonic() + wait_s
    with translated_write_errors(folder / _LOCK_FILE):
        handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _locked(handle):
            if time.monotonic() >= deadline:
                raise FolderBusyError(str(folder))
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
