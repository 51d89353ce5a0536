"""``device_agent enrol`` and ``once``, against a server on a real socket."""

import json
import stat

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.disk.paths import StatePaths
from device_agent.loop.state import StateStore
from tests.device_agent.fleet import DEVICE_TOKEN, ENROL_TOKEN, FleetSim
from tests.device_agent.measured import measured_folder
from tests.device_agent.relay import served


@pytest.fixture
def fleet():
    return FleetSim(action="idle")


@pytest.fixture
def server(fleet):
    with served(fleet) as address:
        yield address


@pytest.fixture
def call(server, tmp_path):
    measured_folder(tmp_path / "s")

    def calling(command, *arguments, token=ENROL_TOKEN):
        given = ["--server", server, "--state", str(tmp_path / "s"), "--name", "box"]
        given += ["--enrol-token", token] if token else []
        return CliRunner().invoke(app, [command, *given, *arguments])

    return calling


def test_it_registers_once_and_says_who_the_box_is_and_what_comes_next(call, fleet, tmp_path):
    result = call("enrol", "--label", "line=3")
    path = tmp_path / "s" / "identity.json"

    assert result.exit_code == 0, result.output
    assert "as box-1" in result.stdout
    assert "device_agent check" in result.stdout
    assert fleet.registered == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DEVICE_TOKEN not in result.output


def test_the_commands_that_it_names_next_exist(call):
    known = get_command(app).commands
    for line in call("enrol").stdout.splitlines():
        if line.strip().startswith("device_agent "):
            assert line.split()[1] in known


def test_doing_it_again_changes_nothing(call, fleet, tmp_path):
    call("enrol")
    before = StateStore(StatePaths(tmp_path / "s")).identity()
    again = json.loads(call("enrol", "--json", token="").stdout)

    assert again["new"] is False
    assert again["device_id"] == "box-1"
    assert fleet.registered == 1
    assert StateStore(StatePaths(tmp_path / "s")).identity() == before


def test_a_revoked_box_is_let_in_by_a_new_token_alone(call, fleet):
    call("enrol")
    fleet.device_token = "another"  # noqa: S105 - a test's own
    refused = call("enrol")
    fleet.enrol_token = "a-new-one"  # noqa: S105 - a test's own
    allowed = call("enrol", "--json", token=fleet.enrol_token)

    assert refused.exit_code == 5
    assert allowed.exit_code == 0
    assert json.loads(allowed.stdout)["new"] is True


@pytest.mark.parametrize(("token", "code"), [("wrong", 5), ("", 5)])
def test_who_is_not_let_in_hears_why(call, token, code):
    result = call("enrol", "--json", token=token)

    assert result.exit_code == code
    assert json.loads(result.stdout)["error"] == "not_let_in"
    assert json.loads(result.stdout)["exit_code"] == code


def test_another_server_than_the_boxs_own_is_refused(call, tmp_path):
    call("enrol")
    result = CliRunner().invoke(
        app, ["enrol", "--server", "http://127.0.0.1:9", "--state", str(tmp_path / "s")]
    )

    assert result.exit_code == 8
    assert "belongs to" in result.stderr


def test_a_server_must_be_named(tmp_path):
    result = CliRunner().invoke(app, ["enrol", "--state", str(tmp_path), "--json"])

    assert result.exit_code == 2
    assert "--server https://" in json.loads(result.stdout)["reason"]


def test_a_certificate_authority_that_is_not_there_is_named(tmp_path):
    for file in (tmp_path / "none.pem", tmp_path):
        result = CliRunner().invoke(
            app,
            ["enrol", "--state", str(tmp_path / "s"), "--server", "https://127.0.0.1:9",
             "--ca-file", str(file)],
        )  # fmt: skip
        assert result.exit_code == 2
        assert "--ca-file" in result.stderr


def test_an_enrolled_box_goes_on_where_enrolling_stopped(call, fleet):
    call("enrol")
    result = call("once", "--json", token="")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"step": "idle", "active_model": None}
    assert fleet.registered == 1


def test_once_is_run_once(call):
    commands = get_command(app).commands
    names = {
        name: {parameter.name for parameter in commands[name].params} for name in ("run", "once")
    }

    assert names["run"] - names["once"] == {"once"}
    assert call("once").exit_code == call("run", "--once").exit_code == 0


def test_once_names_its_failure_in_json(call, fleet):
    result = call("once", "--json", token="")

    assert result.exit_code == 5
    assert json.loads(result.stdout)["error"] == "not_let_in"
    assert fleet.registered == 0
