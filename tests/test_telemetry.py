"""Nothing calls home: onnxruntime's telemetry stays off in every program."""

import os
import subprocess
import sys

import pytest

SESSION = """
import onnx, onnxruntime
from onnx import helper
node = helper.make_node("Identity", ["x"], ["y"])
value = lambda name: helper.make_tensor_value_info(name, 1, [1])
graph = helper.make_graph([node], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


@pytest.mark.parametrize("program", ["models", "app"])
def test_a_session_leaves_nothing_in_the_home_folder(program, tmp_path):
    loud = {k: v for k, v in os.environ.items() if k not in {"ORT_DISABLE_TELEMETRY", "CI"}}
    code = f"import {program}\n{SESSION}"

    subprocess.run(
        [sys.executable, "-c", code], env=loud | {"HOME": str(tmp_path)}, check=True, timeout=60
    )

    assert list(tmp_path.rglob("*")) == []
