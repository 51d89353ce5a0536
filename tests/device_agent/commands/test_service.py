"""``device_agent service`` from the command line: it prints, and refuses where it must."""

import json

import pytest
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.commands import service as command
from device_agent.service.service import Done, Machine

CANARY = "canary-enrol-token"
SHOWN = "LoadState={}\nActiveState={}\nUser=paretofleet"


def call(*arguments):
    return CliRunner().invoke(app, ["service", *arguments])


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Let the command find a machine that is a folder; ``said`` is what systemctl answers."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    answer = {"said": Done(0, "")}
    made = lambda: Machine(root=tmp_path, call=lambda _: answer["said"], is_root=lambda: True)  # noqa: E731
    monkeypatch.setattr(command, "Machine", made)
    return answer


def test_a_dry_run_prints_every_file_but_no_secret_and_changes_nothing(tmp_path):
    result = call("install", "--dry-run", "--server", "http://x", "--enrol-token", CANARY)

    assert result.exit_code == 0, result.output
    for line in ("# /etc/systemd/system/paretofleet-agent.service", "NoNewPrivileges=yes",
                 'server = "http://x"', "# /etc/paretofleet/enrol.token"):  # fmt: skip
        assert line in result.stdout
    assert CANARY not in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_in_json_holds_the_files():
    facts = json.loads(call("install", "--dry-run", "--json", "--server", "http://x").stdout)

    assert facts["installed"] is False
    assert "/etc/systemd/system/paretofleet-agent.service" in facts["files"]


@pytest.mark.parametrize("arguments", [["install", "--server", "http://x", "--user", "root"],
                                       ["install"]])  # fmt: skip
def test_what_cannot_be_installed_is_code_11(arguments):
    assert call(*arguments).exit_code == 11


def test_it_installs_and_removes(machine, tmp_path):
    assert machine["said"].code == 0
    unit = tmp_path / "etc/systemd/system/paretofleet-agent.service"
    result = call("install", "--server", "http://x")
    assert result.exit_code == 0, result.output
    assert unit.exists()
    assert json.loads(call("uninstall", "--json").stdout)["removed"][0].endswith(unit.name)
    assert not unit.exists()
    assert "nothing" in call("uninstall").stdout


@pytest.mark.parametrize(
    ("load", "active", "code", "hint"),
    [("loaded", "active", 0, ""), ("not-found", "inactive", 11, "service install"),
     ("loaded", "failed", 11, "journalctl")],
)  # fmt: skip
def test_its_status_is_told(machine, load, active, code, hint):
    machine["said"] = Done(0, SHOWN.format(load, active))
    plain, facts = call("status"), call("status", "--json")

    assert plain.exit_code == facts.exit_code == code
    assert json.loads(facts.stdout)["ActiveState"] == active
    assert active in plain.stdout
    assert hint in plain.stderr
