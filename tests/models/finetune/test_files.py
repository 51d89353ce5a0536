import errno

import pytest

from models.finetune.errors import BadInputError, DiskFullError, FolderBusyError
from models.finetune.files import (
    Reserve,
    sha256_of,
    sole_use,
    translated_write_errors,
    write_bytes,
    write_whole,
)


def test_replaces_a_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def _fails(code):
    def write(temporary):
        temporary.write_bytes(b"half")
        raise OSError(code, "no")

    return write


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path, code):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    with pytest.raises(DiskFullError, match="make room"):
        write_whole(path, _fails(code))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_write_errors_name_the_folder_to_check(tmp_path):
    with pytest.raises(BadInputError, match="output_dir"):
        write_bytes(tmp_path / "absent" / "a", b"x")


def test_errors_that_are_not_about_writing_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError), translated_write_errors(tmp_path):
        _ = 1 / 0


def test_the_reserve_takes_room_and_gives_it_back(tmp_path):
    with Reserve(tmp_path):
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) >= 16 * 1024
    assert not list(tmp_path.iterdir())
    Reserve(tmp_path).release()


def test_a_folder_serves_one_fine_tune_at_a_time(tmp_path):
    with sole_use(tmp_path), pytest.raises(FolderBusyError), sole_use(tmp_path, wait_s=0.0):
        pass
    with sole_use(tmp_path, wait_s=0.0):
        pass


def test_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256_of(path).startswith("ba7816bf")
