"""The front door: which program a word starts, and what it loads."""

import json
import subprocess
import sys

import pytest

from models.__main__ import main

HEAVY = ("torch", "onnx", "cv2", "pydantic", "typer", "rich", "scipy")


def run(*arguments):
    command = [sys.executable, "-m", "models", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["finetune"], 2, "usage: python -m models finetune"),
        (["finetune", "/nowhere/job.json"], 2, "job"),
        (["floor", "x"], 2, "usage: python -m models floor"),
        (["latency"], 2, "usage: python -m models latency"),
        (["bogus"], 2, "No such command"),
        (["check", "/nowhere"], 1, "no release here"),
    ],
)
def test_every_program_says_what_it_wants(arguments, code, words, capsys):
    assert main(arguments) == code

    assert words in capsys.readouterr().err


def test_it_runs_as_a_module():
    done = run("--help")

    assert done.returncode == 0
    assert "generate" in done.stdout


def test_a_mistake_ends_with_one_line_and_no_traceback():
    done = run("check", "/nowhere")

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_the_floor_is_that_of_a_program_without_the_lab():
    done = run("floor")

    assert 20e6 < json.loads(done.stdout)["floor_bytes"] < 100e6


@pytest.mark.parametrize("word", ["finetune", "floor", "latency"])
def test_what_runs_on_a_box_never_loads_the_lab(word):
    code = (
        "import sys; from models.__main__ import main; main(sys.argv[1:])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, word]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stderr.splitlines()[-1] == "[]"


def test_help_comes_without_loading_torch():
    code = (
        "import sys; from models.__main__ import main; main(['--help'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
