"""Initialisers written and read by hand are what the onnx package writes and reads."""

from contextlib import suppress

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from models.onnx_bytes import (
    MalformedModelError,
    MissingTensorError,
    TensorMismatchError,
    UnsupportedTensorError,
    read_initializers,
    replace_initializers,
    with_initializers,
)

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
floats = hnp.arrays(np.float32, shapes, elements=st.floats(width=32))
integers = hnp.arrays(np.int64, shapes)
tensors = st.dictionaries(names, floats | integers, max_size=5)


def model_of(arrays):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, ir_version=9).SerializeToString()


def as_arrays(model):
    stored = onnx.load_from_string(model).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in stored}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@given(tensors)
def test_appended_tensors_are_read_back_by_onnx(arrays):
    merged = with_initializers(model_of({}), arrays)

    assert_same(as_arrays(merged), arrays)
    assert len(onnx.load_from_string(merged).graph.node) == 1


@given(tensors)
def test_tensors_written_by_onnx_are_read(arrays):
    assert_same(read_initializers(model_of(arrays)), arrays)


@given(tensors, tensors)
def test_tensors_of_skeleton_and_appendix_are_both_read(first, second):
    arrays = {f"a{k}": v for k, v in first.items()} | {f"b{k}": v for k, v in second.items()}
    merged = with_initializers(
        model_of({k: v for k, v in arrays.items() if k.startswith("a")}),
        {k: v for k, v in arrays.items() if k.startswith("b")},
    )

    assert_same(read_initializers(merged), arrays)


@given(tensors, st.data())
def test_replacing_changes_the_named_tensors_and_nothing_else(arrays, data):
    model = model_of(arrays)
    chosen = data.draw(st.sets(st.sampled_from(sorted(arrays)))) if arrays else set()
    new = {name: np.ones_like(arrays[name]) for name in chosen}

    replaced = replace_initializers(model, new)

    assert_same(as_arrays(replaced), arrays | new)
    assert len(replaced) == len(model)
    assert replace_initializers(replaced, {name: arrays[name] for name in chosen}) == model


@given(st.binary(max_size=80))
def test_arbitrary_bytes_give_a_named_error_or_tensors(data):
    with suppress(MalformedModelError):
        assert isinstance(read_initializers(data), dict)


@given(tensors, st.integers(0, 1000), st.integers(0, 255))
def test_a_damaged_model_gives_a_named_error_or_other_numbers(arrays, at, byte):
    damaged = bytearray(model_of(arrays))
    damaged[at % len(damaged)] = byte
    with suppress(MalformedModelError):
        assert isinstance(read_initializers(bytes(damaged)), dict)


@given(tensors.filter(bool), st.integers(1, 400))
def test_a_model_cut_short_is_refused_or_reads_as_a_smaller_one(arrays, missing):
    model = with_initializers(b"", arrays)
    try:
        found = read_initializers(model[: max(0, len(model) - missing)])
    except MalformedModelError:
        return
    assert found == {}


def test_arrays_that_are_not_contiguous_are_written_in_order():
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T

    assert_same(as_arrays(with_initializers(model_of({}), {"w": array})), {"w": array})
    replaced = replace_initializers(model_of({"w": np.zeros((3, 2), np.float32)}), {"w": array})
    assert_same(as_arrays(replaced), {"w": array})


def test_packed_dimensions_are_understood():
    raw = np.arange(6, dtype=np.float32).tobytes()
    tensor = b"\x0a\x02\x02\x03" + b"\x10\x01" + b"\x42\x01w" + b"\x4a\x18" + raw
    graph = b"\x2a" + bytes([len(tensor)]) + tensor

    found = read_initializers(b"\x3a" + bytes([len(graph)]) + graph)

    assert found["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_a_missing_tensor_is_named():
    with pytest.raises(MissingTensorError, match="no initialiser called b") as raised:
        replace_initializers(model_of({"a": np.zeros(1, np.float32)}), {"b": np.zeros(1)})

    assert raised.value.names == ("b",)


@pytest.mark.parametrize("given_", [np.zeros(3, np.float32), np.zeros(2, np.int64)])
def test_another_shape_or_type_is_refused(given_):
    with pytest.raises(TensorMismatchError, match=r"model holds float32\[2\]") as raised:
        replace_initializers(model_of({"w": np.zeros(2, np.float32)}), {"w": given_})

    assert raised.value.name == "w"


def test_a_type_that_cannot_be_written_is_refused():
    with pytest.raises(UnsupportedTensorError, match="w is float64"):
        with_initializers(b"", {"w": np.zeros(1)})


def test_tensors_of_other_types_are_passed_over():
    assert read_initializers(model_of({"h": np.zeros(1, np.float16)})) == {}


def test_bytes_that_do_not_fill_the_shape_are_refused():
    model = onnx.load_from_string(model_of({"w": np.zeros(2, np.float32)}))
    model.graph.initializer[0].dims[0] = 3

    with pytest.raises(MalformedModelError, match="do not fill its shape"):
        read_initializers(model.SerializeToString())


def test_numbers_stored_outside_raw_data_are_refused():
    model = onnx.load_from_string(model_of({}))
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]))

    with pytest.raises(MalformedModelError, match="'w' do not fill"):
        read_initializers(model.SerializeToString())


def test_onnxruntime_runs_a_skeleton_with_its_weights_appended():
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "skeleton",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
    )
    opset = [helper.make_opsetid("", 18)]
    skeleton = helper.make_model(graph, ir_version=9, opset_imports=opset).SerializeToString()

    merged = with_initializers(skeleton, {"w": np.full(1, 3.0, np.float32)})

    session = ort.InferenceSession(merged, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [3.0, 3.0]
