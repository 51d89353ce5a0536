import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from models.finetune.tensors import (
    UnreadableTensorsError,
    read_header,
    read_tensors,
    write_tensors,
)

TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.array([], np.float32),
    "c": np.array(7, np.float32),
}


def _same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


def test_reads_what_the_library_writes(tmp_path):
    path = tmp_path / "t.safetensors"
    save_file(TENSORS | {"count": np.array([1])}, path, metadata={"made": "by hand"})
    assert _same(read_tensors(path, TENSORS), TENSORS)
    assert read_header(path).metadata == {"made": "by hand"}
    assert "count" not in read_header(path).places


def test_the_library_reads_what_it_writes(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {"epoch": "3"})
    assert _same(load_file(path), TENSORS)
    assert _same(read_tensors(path, TENSORS), TENSORS)


def test_says_which_tensor_is_missing(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, TENSORS, {})
    with pytest.raises(UnreadableTensorsError, match=r"d\.weight"):
        read_tensors(path, ["a.weight", "d.weight"])


def _file(header, data=b"", length=None):
    text = json.dumps(header).encode()
    return (length or len(text)).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff" * 64,
        _file({}, length=2**60),
        _file([1, 2]),
        _file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
        _file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}, bytes(16)),
        _file({"a": {"dtype": "F32", "shape": [-4], "data_offsets": [16, 0]}}, bytes(16)),
        _file({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(16)),
        _file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}, bytes(16)),
        _file({"a": {"dtype": "F32"}}, bytes(16)),
        _file({"a": 7}, bytes(16)),
    ],
)
def test_refuses_malformed_files_with_a_named_error(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnreadableTensorsError, match="fetch"):
        read_tensors(path, ["a"])


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_it_crash(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "t"
    path.write_bytes(content)
    with pytest.raises(UnreadableTensorsError):
        read_tensors(path, ["a"])


def test_refuses_a_file_that_is_absent(tmp_path):
    with pytest.raises(UnreadableTensorsError):
        read_header(tmp_path / "absent")
