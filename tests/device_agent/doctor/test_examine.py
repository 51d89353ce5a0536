"""The whole examination: it changes nothing, shows no secret, survives a broken check, and ends
with the right code."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.doctor import examine as examining
from device_agent.doctor.examine import CHECKS, examine, lines_of, masked
from device_agent.doctor.finding import Finding, Patient, fail, ok
from device_agent.settings import AgentSettings
from tests.device_agent.doctor.conftest import probe
from tests.device_agent.fleet import DEVICE_TOKEN, ENROL_TOKEN
from tests.device_agent.measured import measured_folder
from tests.device_agent.mending import assert_can_be_given
from tests.device_agent.relay import served


def snapshot(folder: Path):
    """Return name, mode, size, time and content of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode, path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


def test_it_changes_nothing_not_even_a_time(stopped_box, settings, fleet, tmp_path):
    assert stopped_box.is_dir()
    with served(fleet) as server:
        identity = settings.state / "identity.json"
        identity.write_text(identity.read_text().replace("http://fleet.test", server))
        identity.chmod(0o600)
        before = snapshot(tmp_path)
        changed = settings.model_copy(update={"server": server})
        findings = examine(Patient(settings=changed, probe=probe))

    assert snapshot(tmp_path) == before
    levels = {finding.check: finding.level for finding in findings}
    assert levels["active model"] == levels["token"] == levels["outbox"] == "ok"
    assert "fail" not in levels.values(), findings


@pytest.mark.usefixtures("quick")
def test_no_secret_is_ever_shown(settings, tmp_path):
    measured_folder(settings.state)
    identity = settings.state / "identity.json"
    identity.write_text(
        json.dumps({"device_id": DEVICE_TOKEN, "token": DEVICE_TOKEN, "server": ENROL_TOKEN})
    )
    token = tmp_path / "token"
    token.write_text(ENROL_TOKEN)
    file = tmp_path / "agent.toml"
    file.write_text(f'enrol_token = "{ENROL_TOKEN}"\nthreads = "{ENROL_TOKEN}"\n')
    for arguments in (
        ["--server", "http://127.0.0.1:9", "--enrol-token", ENROL_TOKEN],
        ["--server", f"http://{ENROL_TOKEN}.invalid:1", "--enrol-token", str(token)],
        ["--config", str(file), "--server", "http://127.0.0.1:9"],
    ):
        for shape in ([], ["--json"]):
            result = CliRunner().invoke(
                app, ["doctor", "--state", str(settings.state), *arguments, *shape]
            )
            assert result.exit_code == 10
            assert DEVICE_TOKEN not in result.output
            assert ENROL_TOKEN not in result.output.replace(f"{ENROL_TOKEN}.invalid", "")


def test_a_secret_in_a_finding_is_masked():
    shown = masked(fail("x", "said s3cret", "device_agent run --x s3cret"), ["s3cret"])

    assert shown == fail("x", "said ***", "device_agent run --x ***")


def test_a_check_that_breaks_is_a_finding_and_hides_no_other():
    def check_first(_):
        raise RuntimeError("boom")

    findings = examine(
        Patient(settings=AgentSettings()), checks=(check_first, lambda _: ok("second", "fine"))
    )

    assert [(f.check, f.level) for f in findings] == [("first", "fail"), ("second", "ok")]
    assert "boom" in findings[0].found
    assert_can_be_given(findings[0].mend)


def test_progress_is_told_after_every_check():
    done = []
    examine(Patient(settings=AgentSettings()), done.append, checks=(lambda _: ok("a", ""),) * 3)

    assert done == [1, 1, 1]


@pytest.mark.parametrize(("level", "mend"), [("ok", "x"), ("skip", "x"), ("warn", None),
                                             ("fail", None)])  # fmt: skip
def test_trouble_comes_with_a_command_and_health_without(level, mend):
    with pytest.raises(ValueError, match="mending command"):
        Finding("x", level, "y", mend)


def test_people_read_level_check_and_mending_command():
    lines = list(lines_of([ok("a", "fine"), fail("long", "bad", "chmod 600 x")]))

    assert lines == [
        "OK    a     fine", "FAIL  long  bad", "            mend: chmod 600 x",
        "1 wrong, 0 doubtful, 1 in order",
    ]  # fmt: skip


def test_every_check_is_in_the_table():
    modules = [getattr(examining, name) for name in
               ("folder", "machine", "model", "network", "program")]  # fmt: skip
    defined = {value for module in modules for name, value in vars(module).items()
               if name.startswith("check_") and value.__module__ == module.__name__}  # fmt: skip

    assert defined == set(CHECKS)


@pytest.mark.usefixtures("stopped_box", "quick")
def test_a_healthy_box_is_code_0_and_a_sick_one_10(settings, fleet):
    with served(fleet) as server:
        identity = settings.state / "identity.json"
        identity.write_text(identity.read_text().replace("http://fleet.test", server))
        arguments = ["doctor", "--json", "--state", str(settings.state), "--server", server,
                     "--data", str(settings.data), "--ram-cap", "256MB"]  # fmt: skip
        healthy = CliRunner().invoke(app, arguments)
        identity.chmod(0o644)
        sick = CliRunner().invoke(app, arguments)

    assert healthy.exit_code == 0, healthy.stdout
    assert json.loads(healthy.stdout)["healthy"] is True
    assert sick.exit_code == 10
    wrong = [f for f in json.loads(sick.stdout)["findings"] if f["level"] == "fail"]
    assert [f["check"] for f in wrong] == ["identity"]
    for finding in json.loads(sick.stdout)["findings"]:
        if finding["mend"]:
            assert_can_be_given(finding["mend"])


@pytest.mark.usefixtures("quick")
def test_wrong_settings_are_a_finding_and_the_rest_is_examined_all_the_same(tmp_path):
    measured_folder(tmp_path / "box")
    file = tmp_path / "agent.toml"
    file.write_text('state = "box"\nrm_cap = "1GB"\n')
    result = CliRunner().invoke(app, ["doctor", "--json", "--offline", "--config", str(file)])
    findings = {f["check"]: f for f in json.loads(result.stdout)["findings"]}

    assert result.exit_code == 10
    assert "rm_cap is no setting" in findings["settings"]["found"]
    assert_can_be_given(findings["settings"]["mend"])
    assert str(tmp_path / "box") in findings["state folder"]["found"]


@pytest.mark.usefixtures("quick")
def test_a_configuration_that_is_not_there_is_a_finding(tmp_path):
    result = CliRunner().invoke(
        app,
        ["doctor", "--json", "--offline", "--state", str(tmp_path / "s"), "--config",
         str(tmp_path / "none.toml")],
    )  # fmt: skip
    findings = {f["check"]: f for f in json.loads(result.stdout)["findings"]}

    assert "is no file" in findings["settings"]["found"]
    assert str(tmp_path / "s") in findings["state folder"]["found"]
