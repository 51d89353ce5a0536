import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.__main__ import main, server_port, state_name
from demo.processes import free_port


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "{}/none"], "there is no folder"),
        (["--data", "{}"], "has no folder ok"),
        (["--release", "{}/none"], "holds no release"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_started(tmp_path, capsys, arguments, words):
    assert main([argument.format(tmp_path) for argument in arguments]) == 2

    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("The demo cannot start: ")
    assert words in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [["--port", "0"], ["--port", "65536"], ["--port", "x"], ["--no"]])
def test_bad_arguments_are_a_usage_error(bad, capsys):
    with pytest.raises(SystemExit) as caught:
        main(bad)

    assert caught.value.code == 2
    assert "usage: python -m demo" in capsys.readouterr().err


def test_the_program_ends_quickly_and_without_a_traceback(tmp_path):
    before = time.monotonic()
    command = [sys.executable, "-m", "demo", "--data", str(tmp_path / "[/red] none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert "[/red] none" in done.stdout
    assert done.stderr == ""
    assert time.monotonic() - before < 20


def test_generated_tiles_and_every_folder_of_images_have_their_own_state(tmp_path, monkeypatch):
    one, other = tmp_path / "a" / "images", tmp_path / "b" / "images"
    names = [state_name(None), state_name(one), state_name(other)]

    assert len(set(names)) == 3
    assert names[0] == "generated"
    assert names[1].startswith("images-")
    monkeypatch.chdir(tmp_path)
    assert state_name(Path("a/images")) == names[1]
    assert state_name(Path("a/../a/images/")) == names[1]


@pytest.mark.parametrize("data", [Path(), Path(".."), Path("/"), Path("x" * 250), Path("\udcff")])
def test_any_folder_has_a_state_that_the_disk_can_hold(data, tmp_path):
    state = tmp_path / state_name(data)

    state.mkdir()

    assert state.parent == tmp_path


def test_the_server_keeps_its_port_from_run_to_run(tmp_path):
    first = server_port(tmp_path / "state", free_port(0))

    assert server_port(tmp_path / "state", 1) == first


def test_a_torn_note_of_the_port_is_written_anew(tmp_path):
    (tmp_path / "port").write_text("")

    assert server_port(tmp_path, free_port(0)) > 0


def test_a_port_that_something_else_took_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        (tmp_path / "port").write_text(str(busy.getsockname()[1]))

        with pytest.raises(RuntimeError, match="--fresh"):
            server_port(tmp_path, 8080)
