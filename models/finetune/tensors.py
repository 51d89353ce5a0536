"""Reads and writes float32 tensors in safetensors files, in plain Python.

The safetensors library is written in Rust, whose allocator ends the process (SIGABRT) when memory
runs out, and a capped run must end with a result instead. Here a failed allocation is a
MemoryError. Tensors are read straight into place with no second copy and no mapping.

Format (github.com/huggingface/safetensors): 8 bytes little-endian header length, a JSON header of
``{name: {dtype, shape, data_offsets}}`` with ``__metadata__``, then the data. Only F32 is read;
other tensors may be present. It does not check what the tensors mean.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.finetune.errors import BadInputError
from models.finetune.parameters import Floats

MAX_HEADER_BYTES = 4 * 1024 * 1024

_METADATA = "__metadata__"
_F32 = "F32"
_F32_BYTES = 4
_LENGTH_BYTES = 8


class UnreadableTensorsError(BadInputError):
    """A file that is no safetensors file, or lacks a tensor that is needed."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(f"{path} {problem}; fetch the variant again")


@dataclass(frozen=True, kw_only=True)
class Header:
    """``places`` maps a float32 tensor to its shape and the byte where it starts in the file."""

    metadata: Mapping[str, str]
    places: Mapping[str, tuple[tuple[int, ...], int]]


def read_header(path: Path) -> Header:
    """Return what the file says it holds; raises UnreadableTensorsError."""
    try:
        with path.open("rb") as file:
            return _parsed(path, file)
    except OSError as error:
        raise UnreadableTensorsError(path, f"cannot be read: {error}") from error


def read_tensors(path: Path, names: Iterable[str]) -> dict[str, Floats]:
    """Return the tensors called ``names``; raises UnreadableTensorsError."""
    places = read_header(path).places
    wanted = list(names)
    missing = [name for name in wanted if name not in places]
    if missing:
        raise UnreadableTensorsError(path, f"has no float32 tensors {missing[:3]}")
    found = {name: np.empty(places[name][0], np.float32) for name in wanted}
    with path.open("rb", buffering=0) as file:
        for name, array in found.items():
            _read_into(path, file, places[name][1], array)
    return found


def write_tensors(path: Path, tensors: Mapping[str, Floats], metadata: Mapping[str, str]) -> None:
    """Write ``tensors`` to ``path``; OSError passes through."""
    fields: dict[str, Any] = {_METADATA: dict(metadata)}
    at = 0
    for name, array in tensors.items():
        ends = [at, at + array.nbytes]
        fields[name] = {"dtype": _F32, "shape": list(array.shape), "data_offsets": ends}
        at = ends[1]
    header = json.dumps(fields).encode()
    header += b" " * (-len(header) % _LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(_LENGTH_BYTES, "little") + header)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array, "<f4").data.cast("B"))


def _parsed(path: Path, file: BinaryIO) -> Header:
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    size = path.stat().st_size
    if not 0 < length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
        raise UnreadableTensorsError(path, "is no safetensors file, or is cut short")
    start = _LENGTH_BYTES + length
    try:
        fields = json.loads(file.read(length))
        metadata = {str(k): str(v) for k, v in fields.pop(_METADATA, {}).items()}
        places = {
            str(name): _place(entry, start)
            for name, entry in fields.items()
            if entry["dtype"] == _F32
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableTensorsError(path, f"has a broken header ({error})") from error
    if any(at + _F32_BYTES * math.prod(shape) > size for shape, at in places.values()):
        raise UnreadableTensorsError(path, "is cut short")
    return Header(metadata=metadata, places=places)


def _place(entry: Mapping[str, Any], start: int) -> tuple[tuple[int, ...], int]:
    shape = tuple(int(n) for n in entry["shape"])
    first, last = entry["data_offsets"]
    whole = math.prod(shape) * _F32_BYTES == last - first
    if not whole or first < 0 or any(n < 0 for n in shape):
        message = "offsets and shape disagree"
        raise ValueError(message)
    return shape, start + int(first)


def _read_into(path: Path, file: BinaryIO, at: int, array: Floats) -> None:
    if not array.size:
        return
    file.seek(at)
    left = array.reshape(-1).data.cast("B")
    while left:
        count = file.readinto(left)  # type: ignore[attr-defined]  # an unbuffered FileIO has it
        if not count:
            raise UnreadableTensorsError(path, "ended while it was read")
        left = left[count:]
