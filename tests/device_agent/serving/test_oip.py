"""The protocol's messages: what is read, what is refused and why, what is written."""

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from contract.inference import Prediction
from device_agent.serving import oip
from device_agent.serving.oip import BadRequestError, Named, parse, render
from tests.device_agent.fleet import cloud_prediction


def request(tensor: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": [{"name": "images", **tensor}], **more}).encode()


def pixels(shape: list[int], data: object, **more: object) -> bytes:
    return request({"datatype": "UINT8", "shape": shape, "data": data, **more})


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def with_binary(datatype: str, shape: list[int], raw: bytes, **more: object) -> tuple[bytes, int]:
    tensor = {"datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
    head = request(tensor, **more)
    return head + raw, len(head)


tensors = np_st.arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.just(3))
)


@given(tensors)
def test_pixels_arrive_whole_nested_flat_and_binary(tensor):
    shape = list(tensor.shape)
    bodies = [
        (pixels(shape, tensor.tolist()), None),
        (pixels(shape, tensor.reshape(-1).tolist()), None),
        with_binary("UINT8", shape, tensor.tobytes()),
    ]
    for body, json_bytes in bodies:
        read = parse(body, json_bytes).pixels
        assert read is not None
        assert read.dtype == np.uint8
        assert np.array_equal(read, tensor)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=16))
def test_files_arrive_whole_as_base64_and_binary(files):
    texts = [base64.b64encode(file).decode() for file in files]
    tensor = {"datatype": "BYTES", "shape": [len(files)]}

    assert parse(request({**tensor, "data": texts})).files == tuple(files)
    assert parse(*with_binary("BYTES", [len(files), 1], packed(*files))).files == tuple(files)


@given(st.binary(max_size=300), st.one_of(st.none(), st.integers(0, 400)))
def test_whatever_is_sent_is_read_or_refused_by_name(body, json_bytes):
    with pytest.raises(BadRequestError):
        parse(body, json_bytes)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["UINT8", "BYTES"]), st.lists(st.integers(-2, 3), max_size=5))
def test_whatever_a_tensor_holds_is_read_or_refused_by_name(data, datatype, shape):
    body = request({"datatype": datatype, "shape": shape, "data": data})
    try:
        read = parse(body)
    except BadRequestError:
        return
    assert read.files or read.pixels is not None


GOOD = [1, 2, 2, 3]
REFUSED = [
    (b"", "JSON"),
    (b"[" * 100_000, "JSON"),
    (b"[" * 500_000, "brackets"),
    (b" " * (oip.MOST_JSON_BYTES + 1), "over 8000000 bytes"),
    (b"{}", "inputs"),
    (json.dumps({"inputs": []}).encode(), "inputs"),
    (request({"datatype": "UINT8", "shape": GOOD, "data": [0] * 12, "name": "x"}), "'images'"),
    (request({"datatype": "FP32", "shape": GOOD, "data": [0] * 12}), "not 'FP32'"),
    (pixels([2, 2, 3], [0] * 12), "is none of"),
    (pixels([1, 2, 2, 4], [0] * 16), "1 or 3 channels"),
    (pixels([0, 2, 2, 3], []), "is none of"),
    (pixels([65, 1, 1, 1], [0] * 65), "at most 64"),
    (pixels([1, 5000, 1, 1], [0] * 5000), "at most 4096"),
    (pixels(GOOD, [0] * 11), "does not hold 11"),
    (pixels(GOOD, [256] * 12), "0 to 255"),
    (pixels(GOOD, [-1] * 12), "0 to 255"),
    (pixels(GOOD, [10**30] * 12), "0 to 255"),
    (pixels(GOOD, [0.5] * 12), "whole number"),
    (pixels(GOOD, [True] * 12), "whole number"),
    (pixels(GOOD, "abc"), "whole number"),
    (pixels(GOOD, None), "whole number"),
    (pixels(GOOD, [[0], [0, 1]]), "one shape"),
    (request({"datatype": "BYTES", "shape": [1], "data": ["%%%"]}), "base64"),
    (request({"datatype": "BYTES", "shape": [1], "data": [3]}), "base64"),
    (request({"datatype": "BYTES", "shape": [1], "data": "QUJD"}), "list"),
    (request({"datatype": "BYTES", "shape": [2], "data": ["QUJD"]}), "does not hold 1"),
    (request({"datatype": "BYTES", "shape": [17], "data": ["QUJD"] * 17}), "1 to 16"),
    (
        request(
            {
                "datatype": "BYTES", "shape": [1], "data": ["QUJD"],
                "parameters": {"content_type": "str"},
            }
        ),
        "base64",
    ),
    (
        request({"datatype": "UINT8", "shape": GOOD, "data": [0] * 12}, outputs=[{"name": "x"}]),
        "no output 'x'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_what_is_refused_says_why(body, reason):
    with pytest.raises(BadRequestError, match=reason):
        parse(body)


SHORT = with_binary("UINT8", [1, 1, 1, 3], b"\0" * 3)


@pytest.mark.parametrize(
    ("body", "json_bytes", "reason"),
    [
        (*with_binary("UINT8", [1, 2, 2, 3], b"\0" * 11), "does not hold 11"),
        (SHORT[0][:-1], SHORT[1], "binary_data_size says 3; 2 bytes"),
        (pixels(GOOD, [0] * 12) + b"xx", len(pixels(GOOD, [0] * 12)), "bytes follow"),
        (b"{}", 3, "says 3 of 2"),
        (*with_binary("BYTES", [1], b"\1\0"), "within a length"),
        (*with_binary("BYTES", [1], b"\5\0\0\0abc"), "within an element"),
        (*with_binary("BYTES", [1], packed(b"a", b"b")), "does not hold 2"),
    ],
)
def test_binary_data_that_is_not_as_promised_is_refused(body, json_bytes, reason):
    with pytest.raises(BadRequestError, match=reason):
        parse(body, json_bytes)


def predictions() -> list[Prediction]:
    first = Prediction.model_validate(cloud_prediction())
    second = first.model_copy(
        update={"label": "burnt", "probabilities": {"burnt": 1.0}, "source": "device"}
    )
    return [first, second]


def test_an_answer_names_what_was_asked_and_the_version():
    asked = parse(request({"datatype": "BYTES", "shape": [1], "data": [""]}, id="42"))
    body, json_bytes = render(asked, Named("active", "abc", {"variant": "v"}), predictions())
    said = json.loads(body)

    assert json_bytes is None
    assert (said["id"], said["model_name"], said["model_version"]) == ("42", "active", "abc")
    assert said["parameters"] == {"variant": "v"}
    outputs = {output["name"]: output for output in said["outputs"]}
    assert outputs["classes"]["data"] == ["ok", "defect", "burnt"]
    assert outputs["probabilities"] == {
        "name": "probabilities", "datatype": "FP32", "shape": [2, 3],
        "data": [0.9, 0.1, 0.0, 0.0, 0.0, 1.0],
    }  # fmt: skip
    assert outputs["label"]["data"] == ["ok", "burnt"]
    assert outputs["source"]["data"] == ["cloud", "device"]


def test_outputs_come_as_asked_for_in_json_or_binary():
    body, json_bytes = with_binary(
        "BYTES", [1], packed(b"x"),
        parameters={"binary_data_output": True},
        outputs=[
            {"name": "label"},
            {"name": "classes", "parameters": {"binary_data": False}},
            {"name": "probabilities"},
        ],
    )  # fmt: skip
    answer, answer_json_bytes = render(
        parse(body, json_bytes), Named("active", None, {}), predictions()
    )

    said = json.loads(answer[:answer_json_bytes])
    assert [output["name"] for output in said["outputs"]] == ["label", "classes", "probabilities"]
    assert said["outputs"][1]["data"] == ["ok", "defect", "burnt"]
    sizes = [o["parameters"]["binary_data_size"] for o in said["outputs"] if "data" not in o]
    tail = answer[answer_json_bytes:]
    assert sum(sizes) == len(tail)
    assert tail[: sizes[0]] == packed(b"ok", b"burnt")
    assert struct.unpack("<6f", tail[sizes[0] :])[0] == pytest.approx(0.9)
    assert "model_version" not in said
    assert "id" not in said
