import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import BadReleaseError, NotFoundError, StorageFullError
from app.store import LocalStore
from contract.release import Artifact

CONTENT = b"genuine weights" * 1000
ARTIFACT = Artifact(
    kind="weights", sha256=hashlib.sha256(CONTENT).hexdigest(), length_bytes=len(CONTENT)
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def source(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "source"
    path.write_bytes(content)
    return path


def everything_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_added_can_be_read_back_in_parts(tmp_path, store):
    store.add(source(tmp_path, CONTENT), ARTIFACT)
    sha256 = ARTIFACT.sha256
    assert store.length_bytes(sha256) == len(CONTENT)
    assert b"".join(store.read(sha256, 0, len(CONTENT))) == CONTENT
    assert b"".join(store.read(sha256, 5, 10)) == CONTENT[5:10]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", b"X" + CONTENT[1:]])
def test_a_file_that_is_not_what_was_promised_leaves_no_trace(tmp_path, store, content):
    with pytest.raises(BadReleaseError):
        store.add(source(tmp_path, content), ARTIFACT)
    assert everything_in(tmp_path / "store") == []
    with pytest.raises(NotFoundError):
        store.length_bytes(ARTIFACT.sha256)


def test_a_missing_file_is_named(tmp_path, store):
    with pytest.raises(BadReleaseError, match="nowhere"):
        store.add(tmp_path / "nowhere", ARTIFACT)


def test_adding_again_changes_nothing(tmp_path, store):
    path = source(tmp_path, CONTENT)
    store.add(path, ARTIFACT)
    path.unlink()
    store.add(path, ARTIFACT)
    assert len(everything_in(tmp_path / "store")) == 1


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """Let the kernel refuse to write more into a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room_bytes", [0, 4096, len(CONTENT) - 1])
def test_a_full_disk_has_a_name_and_leaves_no_trace(tmp_path, store, room_bytes):
    path = source(tmp_path, CONTENT)
    with files_of_at_most(room_bytes), pytest.raises(StorageFullError, match="Make room"):
        store.add(path, ARTIFACT)
    assert everything_in(tmp_path / "store") == []
    store.add(path, ARTIFACT)
    assert b"".join(store.read(ARTIFACT.sha256, 0, len(CONTENT))) == CONTENT


@pytest.mark.parametrize("damaged", [b"X" + CONTENT[1:], CONTENT[:-1], CONTENT + b"x"])
def test_adding_again_mends_a_damaged_file(tmp_path, store, damaged):
    path = source(tmp_path, CONTENT)
    store.add(path, ARTIFACT)
    (stored,) = everything_in(tmp_path / "store")
    stored.write_bytes(damaged)
    store.add(path, ARTIFACT)
    assert everything_in(tmp_path / "store") == [stored]
    assert stored.read_bytes() == CONTENT
