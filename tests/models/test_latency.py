import json
import subprocess
import sys

import pytest

from models.latency import EXIT_BAD_INPUT, REPEATS, main

LAB_ONLY = ("torch", "onnx", "cv2", "pydantic", "typer", "rich", "scipy")


@pytest.fixture(scope="module")
def model(tiny):
    return str(tiny.paths[tiny.variant.inference.sha256])


def test_one_line_of_json_says_what_an_image_costs(model, capsys):
    assert main([model, "64", "3"]) == 0

    said = capsys.readouterr().out
    figures = json.loads(said)
    assert said.count("\n") == 1
    assert 0 < figures["latency_ms"] < 1000
    assert figures["floor_bytes"] > 0
    assert figures["inference_bytes"] >= 0
    assert (figures["repeats"], figures["threads"]) == (REPEATS, 1)


def test_the_program_never_loads_what_only_the_lab_has(model):
    code = (
        "import sys; from models.__main__ import main; main(sys.argv[1:])\n"
        f"print([name for name in {LAB_ONLY!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "latency", model, "64", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    figures, loaded = done.stdout.splitlines()
    assert json.loads(figures)["latency_ms"] > 0
    assert loaded == "[]"


@pytest.mark.parametrize(
    "arguments",
    [[], ["m.onnx"], ["m.onnx", "64"], ["m.onnx", "64", "3", "4"], ["m.onnx", "big", "3"],
     ["m.onnx", "-64", "3"]],
)  # fmt: skip
def test_bad_arguments_are_answered_with_the_usage(arguments, capsys):
    assert main(arguments) == EXIT_BAD_INPUT

    assert "usage: python -m models latency" in capsys.readouterr().err


def test_a_model_that_is_none_is_named(tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    for path in (broken, tmp_path / "nowhere.onnx"):
        assert main([str(path), "64", "3"]) == EXIT_BAD_INPUT
        said = capsys.readouterr()
        assert str(path) in said.err
        assert said.out == ""


@pytest.mark.parametrize(("px", "channels"), [("32", "3"), ("64", "1")])
def test_an_image_that_the_model_does_not_take_is_named(model, capsys, px, channels):
    assert main([model, px, channels]) == EXIT_BAD_INPUT

    assert f"on {px} px and {channels} channels" in capsys.readouterr().err
