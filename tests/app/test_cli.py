import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app.cli import main
from app.examples import POLICY
from tests.app.release_maker import release_folder
from tests.app.world import bearer, profile


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the command line and gives what it said."""
    monkeypatch.setenv("PARETOFLEET_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["paretofleet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == status, said
        return (said.err if status else said.out).strip()

    return call


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(client: httpx2.Client, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not get ready")


def test_serving_needs_a_migrated_database_and_says_so(run):
    said = run("serve", status=1)
    assert "Run: paretofleet migrate" in said
    assert "Traceback" not in said


def test_a_release_is_loaded_once_and_never_changed(run, tmp_path: Path):
    run("migrate")
    folder = release_folder(tmp_path / "one")
    assert run("release", "load", str(folder)).startswith("Release 1 loaded: 2 variants, 4 points")
    assert "unchanged" in run("release", "load", str(folder))
    content = json.loads((folder / "release.json").read_text())
    (folder / "release.json").write_text(json.dumps({**content, "title": "Another"}))
    assert "new number" in run("release", "load", str(folder), status=1)


def test_a_release_with_a_bad_file_is_not_loaded_at_all(run, tmp_path: Path):
    run("migrate")
    folder = release_folder(tmp_path / "one")
    victim = max((folder / "files").iterdir())
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + b"!")
    assert "does not hash to its name" in run("release", "load", str(folder), status=1)
    victim.write_bytes(content)
    assert run("release", "load", str(folder)).startswith("Release 1 loaded")


def test_a_folder_that_is_no_release_is_refused_in_one_line(run, tmp_path: Path):
    run("migrate")
    assert "Cannot read" in run("release", "load", str(tmp_path / "nowhere"), status=1)
    (tmp_path / "release.json").write_text("{}")
    assert "is not a release" in run("release", "load", str(tmp_path), status=1)


def test_a_policy_is_set_from_a_file(run, tmp_path: Path):
    run("migrate")
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(POLICY))
    assert run("policy", "set", "line-3", str(file)) == "Policy line-3 is at version 1."
    assert run("policy", "set", "line-3", str(file)) == "Policy line-3 is at version 2."
    names = [json.loads(line)["name"] for line in run("policy", "list").splitlines()]
    assert names == ["default", "line-3"]
    assert "pattern" in run("policy", "set", "Line 3", str(file), status=1)
    file.write_text('{"acuracy_floor": 1}')
    assert "acuracy_floor" in run("policy", "set", "line-3", str(file), status=1)


EVENT = {"kind": "event", "name": "started"}
REPORTS = {
    "reports": [{"key": "k", "sequence": 1, "sent_at": "2026-01-01T00:00:00Z", "body": EVENT}]
}


@contextmanager
def serving(port: int) -> Iterator[tuple[httpx2.Client, subprocess.Popen]]:
    """Give a client of a real server process that is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        env={**os.environ, "PARETOFLEET_PORT": str(port)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        try:
            wait_until_ready(client, process)
            yield client, process
        finally:
            process.terminate()
            process.wait(20)


def test_a_killed_server_has_lost_nothing_it_answered(run):
    run("migrate")
    enrol, operator = run("token", "enrol", "--uses", "2"), run("token", "operator")
    port = free_port()
    with serving(port) as (client, process):
        body = {"serial": "one", "profile": profile()}
        registered = client.post("/v1/devices/register", json=body, headers=bearer(enrol)).json()
        box = bearer(registered["token"])
        poll = client.get("/v1/device/desired", headers=box)
        client.post("/v1/device/reports", json=REPORTS, headers=box).raise_for_status()
        process.kill()
        process.wait(20)
    with serving(port) as (client, _):
        knows = {**box, "If-None-Match": poll.headers["ETag"]}
        assert client.get("/v1/device/desired", headers=knows).status_code == 304
        again = client.post("/v1/device/reports", json=REPORTS, headers=box).json()
        assert again["receipts"] == [{"key": "k", "status": "duplicate"}]
        shown = client.get("/v1/devices", headers=bearer(operator)).json()
        assert [device["serial"] for device in shown["items"]] == ["one"]


def test_tokens_expire(run):
    run("migrate")
    assert run("token", "operator", "--expires-hours", "1").startswith("pfo_")
    assert "0.01" in run("token", "operator", "--expires-hours", "0", status=2)


UNUSABLE = {
    "no URL": "nonsense",
    "unknown database": "oracle+made_up://u:hunter2@host/db",
    "driver not installed": "postgresql+pg8000://u:hunter2@host/db",
    "port in words": "postgresql+psycopg://u:hunter2@host:port/db",
    "refused": "postgresql+psycopg://u:hunter2@127.0.0.1:1/db",
    "password in the query": "postgresql+psycopg://u@127.0.0.1:1/db?password=hunter2",
    "wrong option": "postgresql+psycopg://u:hunter2@127.0.0.1:1/db?hunter2=1",
    "a folder": "sqlite:////",
}


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("command", [("migrate",), ("serve",), ("token", "operator")])
def test_an_unusable_database_is_told_in_one_line_without_its_password(
    run, monkeypatch, url, command
):
    monkeypatch.setenv("PARETOFLEET_DATABASE_URL", url)
    said = run(*command, status=1)
    assert said.startswith("error: ")
    assert "PARETOFLEET_DATABASE_URL" in said
    assert "hunter2" not in said
    assert len(said.splitlines()) == 1


def test_a_data_folder_that_cannot_be_is_told_in_one_line(run, monkeypatch):
    monkeypatch.setenv("PARETOFLEET_DATA_DIR", "/dev/null/x")
    said = run("migrate", status=1)
    assert said.startswith("error: /dev/null/x: Not a directory.")
    assert "PARETOFLEET_DATA_DIR" in said


def test_a_setting_that_is_not_valid_is_told_in_one_line(run, monkeypatch):
    monkeypatch.setenv("PARETOFLEET_PORT", "hunter2")
    said = run("migrate", status=1)
    assert said.startswith("error: Settings is not valid. Correct port: ")
    assert "hunter2" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("content", [b"accuracy_floor: 1", b"", b"\xff\xfe", b"[]", b'{"x": 1}'])
def test_a_file_that_is_no_policy_is_told_in_one_line(run, tmp_path: Path, content):
    run("migrate")
    file = tmp_path / "policy.json"
    file.write_bytes(content)
    said = run("policy", "set", "p", str(file), status=1)
    assert said.startswith("error: PolicyBody is not valid. Correct ")
    assert len(said.splitlines()) == 1


def test_a_policy_file_that_cannot_be_read_is_named(run, tmp_path: Path):
    run("migrate")
    said = run("policy", "set", "p", "/missing", status=1)
    assert "/missing: No such file or directory" in said
    assert "Is a directory" in run("policy", "set", "p", str(tmp_path), status=1)
