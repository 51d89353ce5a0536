"""Durable files: whole or absent after a crash, and a full disk has a name.

Write into a temp file of the same folder, fsync, ``os.replace``, fsync the folder.
"""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from device_agent.errors import DiskFullError, StateError

_CHUNK_BYTES = 1 << 18
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turn ENOSPC into DiskFullError and what is unwritable into StateError."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise DiskFullError(path) from exc
        if isinstance(exc, (PermissionError, NotADirectoryError)) or exc.errno == errno.EROFS:
            message = f"cannot write {path}: {exc.strerror}; give the agent a folder it may write"
            raise StateError(message) from exc
        raise


def fsync_dir(folder: Path) -> None:
    """Make renames in ``folder`` survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` so that ``path`` holds the old or the new bytes, never a part."""
    with named_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temp_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temp_name).replace(path)
        except BaseException:
            Path(temp_name).unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)


def copy_durable(source: Path, target: Path) -> None:
    """Copy bytes and fsync; the caller renames the folder that holds ``target``."""
    with named_disk_errors(target), source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())


def point_link(link: Path, target: str) -> None:
    """Switch a symbolic link to ``target`` in one atomic step."""
    with named_disk_errors(link):
        temp = link.with_name(f".{link.name}.new")
        temp.unlink(missing_ok=True)
        temp.symlink_to(target)
        temp.replace(link)
        fsync_dir(link.parent)


def is_whole_file(path: Path, length_bytes: int, sha256: str) -> bool:
    """Return whether the file is what was promised; raises OSError where it cannot be read."""
    return path.stat().st_size == length_bytes and sha256_of(path) == sha256


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
