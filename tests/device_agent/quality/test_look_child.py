"""The child that looks at images: its answer, its cap, its end."""

import sys

import pytest

from device_agent.errors import DataUnusableError, StoppedError
from device_agent.quality import look_child
from device_agent.quality.look_child import LookFailedError, LookOverCapError, look_in_child
from device_agent.quality.request import CheckRequest, request_for
from tests.device_agent.fleet import FILES, PX, artifact, variant


def never():
    return False


@pytest.fixture
def fake(monkeypatch):
    """Let the child run a line of Python instead."""

    def run(code):
        command = (sys.executable, "-S", "-c", f"import sys; {code}")
        monkeypatch.setattr(look_child, "COMMAND", command)

    return run


def test_the_child_answers_with_counts(data, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(FILES["inference"])
    request = CheckRequest(data=data, model=model, input_px=PX)

    summary = look_in_child(request, None, never)

    assert summary.body.class_counts == {"ok": 5, "defect": 5}
    assert summary.trainable
    assert not summary.body.enough


def test_a_folder_that_cannot_be_used_is_said_so_by_the_child(tmp_path):
    with pytest.raises(DataUnusableError, match="no folder"):
        look_in_child(CheckRequest(data=tmp_path / "nowhere"), None, never)


def test_a_cap_too_small_for_anything_ends_the_child(data):
    with pytest.raises(LookOverCapError, match="20000000 bytes"):
        look_in_child(CheckRequest(data=data), 20_000_000, never)


def test_over_the_cap_it_looks_again_without_the_network(data, tmp_path, fake):
    """The fake child takes 60 MB when it is given a network."""
    answer = (
        '\'{"trainable": true, "refusal": "", "body": {"class_counts": {}, "findings": '
        '{}, "enough": true, "advice": ""}}\''
    )
    fake(
        "b = bytearray(60_000_000) if '\"model\":\"' in sys.stdin.read() else b''; "
        f"import time; time.sleep(len(b) / 1e6); print({answer})"
    )
    request = CheckRequest(data=data, model=tmp_path, input_px=PX)

    assert look_in_child(request, 50_000_000, never).trainable


@pytest.mark.parametrize("code", ["import os; os.abort()", "print('{}')", "sys.exit(7)"])
def test_a_child_that_crashes_or_talks_nonsense_is_a_named_failure(data, fake, code):
    fake(code)

    with pytest.raises(LookFailedError, match="ended with"):
        look_in_child(CheckRequest(data=data), None, never)


def test_a_signal_to_the_agent_ends_the_child(data, fake):
    fake("import time; time.sleep(600)")

    with pytest.raises(StoppedError):
        look_in_child(CheckRequest(data=data), None, lambda: True)


def test_a_child_that_hangs_is_ended(data, fake, monkeypatch):
    fake("import time; time.sleep(600)")
    monkeypatch.setattr(look_child, "_LONGEST_S", 0.1)

    with pytest.raises(LookFailedError, match=r"over 0\.1 s"):
        look_in_child(CheckRequest(data=data), None, never)


def test_a_request_names_the_network_only_where_it_is_there(tmp_path):
    def place(file):
        return tmp_path / file.sha256

    made = variant()
    assert request_for(tmp_path, None, made, place).model is None
    assert request_for(tmp_path, None, None, place) == CheckRequest(data=tmp_path)

    place(artifact("inference")).write_bytes(FILES["inference"])
    request = request_for(tmp_path, None, made, place)

    assert request.model == place(artifact("inference"))
    assert (request.input_px, request.in_channels) == (PX, 3)
    assert CheckRequest.model_validate_json(request.model_dump_json()) == request
