"""The runtime on a box: what it computes, and that it tells nobody."""

import os
import subprocess
import sys
from pathlib import Path

from device_agent.serving.runtime import open_session
from device_agent.training.children import quiet_environment
from tests.device_agent.fleet import tiny_model

SCRIPT = """
import sys
from pathlib import Path
from device_agent.serving.runtime import open_session
session = open_session(Path(sys.argv[1]))
import numpy as np
print(session.run(["logits"], {"images": np.zeros((1, 32, 32, 3), np.uint8)})[0].shape)
"""


def run(home: Path, *command: str, environment: dict[str, str]) -> str:
    plain = {k: v for k, v in environment.items() if not k.startswith("XDG_")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True,
        env={**plain, "HOME": str(home), "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    return done.stdout


def test_a_model_runs_and_nothing_is_told_to_its_makers(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())
    home = tmp_path / "home"
    home.mkdir()
    loud = {k: v for k, v in os.environ.items() if k not in {"ORT_DISABLE_TELEMETRY", "CI"}}

    assert run(home, sys.executable, "-c", SCRIPT, str(model), environment=loud) == "(1, 2)\n"
    assert list(home.rglob("*")) == []


def test_the_probe_and_the_trainer_start_quiet(tmp_path):
    environment = quiet_environment({"PATH": os.environ["PATH"], "ORT_DISABLE_TELEMETRY": "0"})
    run(tmp_path, sys.executable, "-m", "device_agent.machine.probe", environment=environment)

    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert list(tmp_path.rglob("*")) == []


def test_a_session_has_no_arena_and_the_threads_that_it_was_given(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())

    options = open_session(model, 3).get_session_options()

    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
