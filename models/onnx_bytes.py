"""Reads and writes the initialisers of ONNX models as raw bytes, with numpy alone.

The box has no ``onnx`` package: it adds the frozen weights to a training graph, and puts trained
weights back into the inference graph, by walking the protobuf itself. Only float32 and int64
tensors stored as ``raw_data`` are understood. It does not check that a model makes sense
(onnxruntime does), and it knows nothing of nodes or of external data.

Wire format: protobuf.dev/programming-guides/encoding; fields: onnx/onnx.proto (ModelProto.graph 7,
GraphProto.initializer 5, TensorProto.dims 1, data_type 2, name 8, raw_data 9).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_GRAPH = 7
_INITIALIZER = 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}
_CODES = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}

Array = np.ndarray[Any, np.dtype[Any]]


class MalformedModelError(ValueError):
    """Bytes that are no ONNX model, or one whose tensors are stored in a form not known here."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not a usable ONNX model: {reason}; export or fetch it again")


class MissingTensorError(KeyError):
    """Tensors that a model was to take but has no initialiser for."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"the model has no initialiser called {', '.join(names)}")


class TensorMismatchError(ValueError):
    """A tensor that is not of the type or shape of the initialiser it should replace."""

    def __init__(self, name: str, given: str, wanted: str) -> None:
        self.name = name
        super().__init__(f"{name} is {given}, but the model holds {wanted}; use matching weights")


class UnsupportedTensorError(TypeError):
    """A tensor whose type cannot be written."""

    def __init__(self, name: str, dtype: str) -> None:
        self.name = name
        super().__init__(f"{name} is {dtype}; convert it to float32 or int64 first")


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


def with_initializers(skeleton: bytes, tensors: Mapping[str, Array]) -> bytes:
    """Return ``skeleton`` with ``tensors`` added as initialisers of its graph.

    Protobuf merges repeated messages, so a second model that holds nothing but initialisers is
    appended and the skeleton is not parsed. Raises UnsupportedTensorError.
    """
    heads = [_tensor_head(name, array) for name, array in tensors.items()]
    pairs = list(zip(heads, tensors.values(), strict=True))
    sizes = [_varint(len(head) + array.nbytes) for head, array in pairs]
    tag = _tag(_INITIALIZER, _LENGTH)
    length = sum(
        len(tag) + len(size) + len(head) + array.nbytes
        for size, (head, array) in zip(sizes, pairs, strict=True)
    )
    parts: list[bytes | memoryview] = [skeleton, _tag(_GRAPH, _LENGTH), _varint(length)]
    for size, (head, array) in zip(sizes, pairs, strict=True):
        parts += [tag, size, head, _raw(array)]
    return b"".join(parts)


def replace_initializers(model: bytes, tensors: Mapping[str, Array]) -> bytes:
    """Return ``model`` with the initialisers named in ``tensors`` overwritten.

    Raises MissingTensorError, TensorMismatchError and MalformedModelError.
    """
    source, at = memoryview(model), 0
    parts: list[memoryview] = []
    missing = dict(tensors)
    for stored in _tensors(model):
        array = missing.pop(stored.name, None)
        if array is None:
            continue
        if array.dtype != stored.dtype or array.shape != stored.shape:
            given = f"{array.dtype.name}{list(array.shape)}"
            raise TensorMismatchError(stored.name, given, str(stored))
        parts += [source[at : stored.start], _raw(array)]
        at = stored.end
    if missing:
        raise MissingTensorError(tuple(missing))
    return b"".join([*parts, source[at:]])


def read_initializers(model: bytes) -> dict[str, Array]:
    """Return the float32 and int64 initialisers of ``model`` by name, as read-only views of it.

    Initialisers of other types are left out. Raises MalformedModelError.
    """
    return {
        stored.name: np.frombuffer(
            model, stored.dtype, count=math.prod(stored.shape), offset=stored.start
        ).reshape(stored.shape)
        for stored in _tensors(model)
    }


def _raw(array: Array) -> memoryview:
    """Return the bytes of ``array`` in order, without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _tensor_head(name: str, array: Array) -> bytes:
    code = _CODES.get(array.dtype)
    if code is None:
        raise UnsupportedTensorError(name, array.dtype.name)
    encoded = name.encode()
    return b"".join(
        (
            *(_tag(_DIMS, _VARINT) + _varint(size) for size in array.shape),
            _tag(_DATA_TYPE, _VARINT) + _varint(code),
            _tag(_NAME, _LENGTH) + _varint(len(encoded)) + encoded,
            _tag(_RAW_DATA, _LENGTH) + _varint(array.nbytes),
        )
    )


def _tag(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004  # seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tensors(model: bytes) -> Iterator[_Tensor]:
    for field, graph_start, graph_end in _messages(model, 0, len(model)):
        if field != _GRAPH:
            continue
        for inner, start, end in _messages(model, graph_start, graph_end):
            if inner == _INITIALIZER:
                tensor = _tensor(model, start, end)
                if tensor is not None:
                    yield tensor


def _messages(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field, start, end) of every length-delimited field; other fields are skipped."""
    for field, wire, low, high in _fields(data, start, end):
        if wire == _LENGTH:
            yield field, low, high


def _tensor(data: bytes, start: int, end: int) -> _Tensor | None:
    dims: list[int] = []
    code, name, raw = 0, "", None
    for field, wire, low, high in _fields(data, start, end):
        if field == _DIMS:
            dims += _packed(data, low, high)
        elif field == _DATA_TYPE and wire == _VARINT:
            code = _read_varint(data, low, high)[0]
        elif field == _NAME and wire == _LENGTH:
            name = _text(data[low:high])
        elif field == _RAW_DATA and wire == _LENGTH:
            raw = (low, high)
    dtype = _DTYPES.get(code)
    if dtype is None:
        return None
    if raw is None or raw[1] - raw[0] != math.prod(dims) * dtype.itemsize:
        raise MalformedModelError(f"the bytes of {name!r} do not fill its shape {dims}")
    return _Tensor(name, dtype, tuple(dims), *raw)


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field, wire type, start, end) for every field of one message."""
    at = start
    while at < end:
        key, at = _read_varint(data, at, end)
        wire = key & 7
        if wire == _VARINT:
            stop = _read_varint(data, at, end)[1]
        elif wire == _LENGTH:
            length, at = _read_varint(data, at, end)
            stop = at + length
        elif wire in {_FIXED32, _FIXED64}:
            stop = at + (4 if wire == _FIXED32 else 8)
        else:
            raise MalformedModelError(f"wire type {wire} at byte {at}")
        if stop > end:
            raise MalformedModelError(f"a field at byte {at} passes the end of its message")
        yield key >> 3, wire, at, stop
        at = stop


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= end:
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004  # the high bit says that more follows
            return value, at + index + 1
    raise MalformedModelError(f"an unfinished number at byte {at}")


def _packed(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the numbers of a repeated field, whether it came packed or one by one."""
    at = start
    while at < end:
        value, at = _read_varint(data, at, end)
        if value >= 1 << 63:
            raise MalformedModelError(f"a negative dimension at byte {at}")
        yield value


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedModelError("a name that is not UTF-8") from error
