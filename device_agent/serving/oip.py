"""The Open Inference Protocol v2 over REST: bytes to tensors, predictions to bytes. Pure.

As in the specification (github.com/kserve/open-inference-protocol,
specification/protocol/inference_rest.md) and in the binary tensor data extension
(github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md). One input is
taken, named ``images``: UINT8 [n, height, width, channels], or BYTES [n] that holds whole image
files, in JSON as base64. The outputs are ``probabilities`` FP32 [n, classes], ``label`` BYTES [n],
``classes`` BYTES [classes] and ``source`` BYTES [n] (``device`` or ``cloud``).

Everything is bounded before it is built: JSON by bytes and by brackets, images by number.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from contract.base import Message
from contract.inference import Prediction
from device_agent.errors import BadImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT = "images"
MOST_TILES = 64
MOST_FILES = 16
MOST_JSON_BYTES = 8_000_000
_MOST_BRACKETS = 400_000
_LONGEST_SIDE = 4096
_DIMENSIONS = 4
_CHANNELS = {1, 3}
OUTPUTS = {"probabilities": "FP32", "label": "BYTES", "classes": "BYTES", "source": "BYTES"}


class BadRequestError(BadImageError):
    """A request that is not as the protocol says, or is over a bound (HTTP 400)."""


Parameters = Annotated[dict[str, Any], Field(default_factory=dict, max_length=16)]


class InputTensor(Message):
    name: str
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=2**53)], ...], Field(max_length=4)]
    datatype: str
    parameters: Parameters
    data: Any = None


class WantedOutput(Message):
    name: str
    parameters: Parameters


class InferBody(Message):
    id: Annotated[str, Field(max_length=256)] | None = None
    parameters: Parameters
    inputs: Annotated[tuple[InputTensor, ...], Field(min_length=1, max_length=1)]
    outputs: Annotated[tuple[WantedOutput, ...], Field(max_length=16)] | None = None


@dataclass(frozen=True)
class InferRequest:
    """``pixels`` [n, height, width, channels] or else ``files``; ``wanted``: output to binary."""

    request_id: str | None
    pixels: "NDArray[np.uint8] | None"
    files: tuple[bytes, ...]
    wanted: dict[str, bool]


def parse(body: bytes, json_bytes: int | None = None) -> InferRequest:
    """Read a request; ``json_bytes`` is its Inference-Header-Content-Length. BadRequestError."""
    if json_bytes is not None and json_bytes > len(body):
        message = f"Inference-Header-Content-Length says {json_bytes} of {len(body)} bytes"
        raise BadRequestError(message)
    head = body if json_bytes is None else body[:json_bytes]
    tail = b"" if json_bytes is None else body[json_bytes:]
    said = _read_json(head)
    tensor = said.inputs[0]
    if tensor.name != INPUT:
        message = f"there is no input {tensor.name!r}; the one input is {INPUT!r}"
        raise BadRequestError(message)
    raw = _binary_part(tensor, tail)
    wanted = _wanted(said)
    if tensor.datatype == "UINT8":
        return InferRequest(said.id, _pixels(tensor, raw), (), wanted)
    if tensor.datatype == "BYTES":
        return InferRequest(said.id, None, _files(tensor, raw), wanted)
    message = f"{INPUT} is UINT8 (pixels) or BYTES (image files), not {tensor.datatype!r}"
    raise BadRequestError(message)


def _read_json(head: bytes) -> InferBody:
    if len(head) > MOST_JSON_BYTES:
        message = f"the JSON has over {MOST_JSON_BYTES} bytes; send large tensors as binary data"
        raise BadRequestError(message)
    if head.count(b"[") + head.count(b"{") > _MOST_BRACKETS:
        message = f"the JSON has over {_MOST_BRACKETS} brackets; send the tensor flat or as binary"
        raise BadRequestError(message)
    try:
        return InferBody.model_validate_json(head)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRequestError(f"{where}: {first['msg']}" if where else first["msg"]) from exc


def _binary_part(tensor: InputTensor, tail: bytes) -> bytes | None:
    """Return the tensor's bytes behind the JSON; None where it is in the JSON."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tail:
            message = f"{len(tail)} bytes follow the JSON, but no input has a binary_data_size"
            raise BadRequestError(message)
        return None
    if type(size) is not int or size != len(tail) or tensor.data is not None:
        message = f"binary_data_size says {size!r}; {len(tail)} bytes follow the JSON"
        raise BadRequestError(message)
    return tail


def _wanted(said: InferBody) -> dict[str, bool]:
    default = said.parameters.get("binary_data_output") is True
    if said.outputs is None:
        return dict.fromkeys(OUTPUTS, default)
    for output in said.outputs:
        if output.name not in OUTPUTS:
            message = f"there is no output {output.name!r}; there are {', '.join(OUTPUTS)}"
            raise BadRequestError(message)
    return {o.name: o.parameters.get("binary_data", default) is True for o in said.outputs}


def _pixels(tensor: InputTensor, raw: bytes | None) -> "NDArray[np.uint8]":
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    _check_shape(tensor.shape)
    array = _from_json(tensor.data) if raw is None else np.frombuffer(raw, np.uint8)
    if array.size != math.prod(tensor.shape):
        message = f"the shape {list(tensor.shape)} does not hold {array.size} elements"
        raise BadRequestError(message)
    pixels: NDArray[np.uint8] = array.reshape(tensor.shape)
    return pixels


def _check_shape(shape: tuple[int, ...]) -> None:
    fits = (
        len(shape) == _DIMENSIONS
        and 1 <= shape[0] <= MOST_TILES
        and all(1 <= side <= _LONGEST_SIDE for side in shape[1:3])
        and shape[3] in _CHANNELS
    )
    if not fits:
        message = (
            f"the shape {list(shape)} is none of [n, height, width, channels] with n at most "
            f"{MOST_TILES}, sides at most {_LONGEST_SIDE}, and 1 or 3 channels"
        )
        raise BadRequestError(message)


def _from_json(values: object) -> "NDArray[np.uint8]":
    """Return the elements of a flat or nested list, row-major."""
    import numpy as np  # noqa: PLC0415 - an idle agent does not pay for it

    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as exc:
        raise BadRequestError("data is no list of numbers of one shape") from exc
    if array.ndim == 0 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:  # noqa: PLR2004 - a byte
        raise BadRequestError("data holds what is no whole number from 0 to 255")
    return array.astype(np.uint8).reshape(-1)


def _files(tensor: InputTensor, raw: bytes | None) -> tuple[bytes, ...]:
    n = math.prod(tensor.shape)
    if not 1 <= n <= MOST_FILES:
        message = f"the shape {list(tensor.shape)} says {n} image files; 1 to {MOST_FILES} are read"
        raise BadRequestError(message)
    files = tuple(_from_base64(tensor) if raw is None else _split(raw))
    if len(files) != n:
        message = f"the shape {list(tensor.shape)} does not hold {len(files)} image files"
        raise BadRequestError(message)
    return files


def _from_base64(tensor: InputTensor) -> Iterator[bytes]:
    kind = tensor.parameters.get("content_type", "base64")
    values = tensor.data
    if kind != "base64" or not isinstance(values, list):
        raise BadRequestError("image files in JSON are a list of base64 texts")
    for value in values[: MOST_FILES + 1]:
        try:
            yield base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error) as exc:
            raise BadRequestError("an image file in JSON is no base64 text") from exc


def _split(raw: bytes) -> Iterator[bytes]:
    """Yield the elements of a BYTES tensor: each has its length in 4 bytes before it."""
    at, n = 0, 0
    while at < len(raw) and n <= MOST_FILES:
        if len(raw) - at < struct.calcsize("<I"):
            raise BadRequestError("the BYTES tensor ends within a length")
        (length,) = struct.unpack_from("<I", raw, at)
        at += struct.calcsize("<I")
        if length > len(raw) - at:
            raise BadRequestError("the BYTES tensor ends within an element")
        yield raw[at : at + length]
        at += length
        n += 1


@dataclass(frozen=True)
class Named:
    """The model's name as it was asked for, the version that answered, and what else to say."""

    name: str
    version: str | None
    parameters: dict[str, str | int]


def render(
    request: InferRequest, named: Named, predictions: list[Prediction]
) -> tuple[bytes, int | None]:
    """Return the body and, where it holds binary data, the length of its JSON."""
    values = _values(predictions)
    outputs, tails = [], []
    for name, binary in request.wanted.items():
        shape, elements = values[name]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": shape}
        if binary:
            tails.append(_packed(OUTPUTS[name], elements))
            output["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            output["data"] = elements
        outputs.append(output)
    said: dict[str, Any] = {"model_name": named.name, "outputs": outputs}
    if named.version is not None:
        said["model_version"] = named.version
    if named.parameters:
        said["parameters"] = named.parameters
    if request.request_id is not None:
        said["id"] = request.request_id
    head = json.dumps(said).encode()
    return head + b"".join(tails), len(head) if tails else None


def _values(predictions: list[Prediction]) -> dict[str, tuple[list[int], list[Any]]]:
    """Return shape and elements of every output; a class that an answer lacks has chance 0."""
    n = len(predictions)
    classes = list(dict.fromkeys(name for p in predictions for name in p.probabilities))
    chances = [p.probabilities.get(name, 0.0) for p in predictions for name in classes]
    return {
        "probabilities": ([n, len(classes)], chances),
        "label": ([n], [p.label for p in predictions]),
        "classes": ([len(classes)], classes),
        "source": ([n], [p.source for p in predictions]),
    }


def _packed(datatype: str, elements: list[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(elements)}f", *elements)
    texts = [text.encode() for text in elements]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
