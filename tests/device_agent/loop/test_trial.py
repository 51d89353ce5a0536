"""A model that crashes, hangs or bloats the runtime ends the child that tries it, no more."""

import resource
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.disk.shelf import Manifest
from device_agent.loop.box import try_model_in_child
from device_agent.training.trial_bounds import TRIAL_BYTES
from tests.device_agent.fleet import PX, tiny_model


def manifest() -> Manifest:
    return Manifest(
        model_id="m", variant="v", classes=("ok", "defect"), input_px=PX, in_channels=3,
        sha256="0" * 64, length_bytes=1, release_number=1, point_key="p", balanced_accuracy=0.9,
        n_test=9, data_key="k", artifacts=(), made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def model_of(nodes, constants) -> bytes:
    """A graph whose logits come out of ``nodes``; the images are looked at too."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", PX, PX, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.array(v, t), k) for k, (v, t) in constants.items()]
    graph = helper.make_graph(nodes, "hostile", [images], [logits], tensors)
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return bytes(model.SerializeToString())


def bomb() -> bytes:
    """Sixteen gigabytes out of a few hundred bytes; the shape is known only when it runs."""
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Mul", ["shape", "many"], ["large"]),
        helper.make_node("ConstantOfShape", ["large"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["logits"], keepdims=1),
    ]
    return model_of(nodes, {"many": ([100, 100, 100, 1], np.int64)})


def endless() -> bytes:
    """A loop that turns 2^60 times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["sum", "sum"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 2]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, [1, 2]),
        ],
    )
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Loop", ["turns", "yes", "start"], ["logits"], body=body),
    ]
    constants = {
        "turns": (2**60, np.int64), "yes": (True, np.bool_), "start": ([[0.0, 0.0]], np.float32),
    }  # fmt: skip
    return model_of(nodes, constants)


@pytest.fixture
def trouble_with(tmp_path):
    def put(content: bytes) -> str | None:
        path: Path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return try_model_in_child(path, manifest())

    return put


def test_a_good_model_has_no_trouble(trouble_with):
    assert trouble_with(tiny_model()) is None


def test_a_model_that_bloats_the_runtime_is_refused_before_it_has_filled_the_box(trouble_with):
    trouble = trouble_with(bomb())

    assert trouble is not None
    assert "bad_alloc" in trouble
    most_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert most_bytes < TRIAL_BYTES + 200_000_000


def test_a_model_that_hangs_the_runtime_is_ended(trouble_with, monkeypatch):
    monkeypatch.setattr("device_agent.loop.box._TRIAL_S", 2)

    assert "hung the runtime" in str(trouble_with(endless()))


def test_a_runtime_that_crashes_is_told_by_its_signal(trouble_with, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert "ended with -6" in str(trouble_with(tiny_model()))


def test_what_is_no_model_is_refused(trouble_with):
    assert "the runtime ended with 1" in str(trouble_with(b"no model"))
