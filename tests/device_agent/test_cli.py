"""The command line: messages, exit codes, JSON; and what an idle agent does not load."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.commands.options import parse_labels
from device_agent.log import configure_logging
from device_agent.settings import AgentSettings
from tests.device_agent.conftest import image_bytes

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "PIL",
    "sqlmodel",
    "sqlalchemy",
    "fastapi",
    "models",
    "app",
)


def call(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_the_help_names_every_exit_code():
    text = " ".join(call("--help").output.split())

    for code in (*range(12), 130):
        assert f"{code} " in text
    assert "1 MB = 1,000,000 bytes" in text


def test_alone_it_explains_itself_and_that_is_no_failure():
    result = call()

    assert result.exit_code == 0
    known = get_command(app).commands
    named = re.findall(r"^  device_agent (\w+)", result.stdout, re.MULTILINE)
    assert {"enrol", "check", "run", "service", "status", "doctor"} <= set(named) <= set(known)
    assert "/etc/paretofleet/agent.toml" in result.stdout
    assert "PARETOFLEET_AGENT_" in result.stdout


def test_it_says_its_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", call("--version").stdout)


def test_the_help_says_which_options_can_come_from_the_environment():
    text = " ".join(call("run", "--help").output.split())
    said, _, no = text.partition("Options of the command line alone:")

    assert "PARETOFLEET_AGENT_LABELS" in said
    options = {parameter.name for parameter in get_command(app).commands["run"].params}
    for name in options - {"help", "config"}:
        variable = {"label": "labels"}.get(name, name)
        option = "--" + name.removeprefix("as_").replace("_", "-")
        assert (option in no) != (variable in AgentSettings.model_fields), option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ram-cap", "4XB", "--server", "http://x"], "write it like 256MB"),
        (["--label", "line", "--server", "http://x"], "write it like line=3"),
        (["--server", "fleet"], "write it like https://"),
        ([], "--server https://"),
        (["--serve-port", "99999", "--server", "http://x"], "65535"),
    ],
)
def test_a_bad_option_is_code_2_and_says_how(arguments, message, tmp_path):
    result = call("run", "--once", "--state", str(tmp_path), *arguments)

    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_an_absent_server_is_code_4(tmp_path, data, monkeypatch):
    monkeypatch.setattr("device_agent.loop.backoff._BASE_S", 0.001)
    result = call(
        "run", "--once", "--server", "http://127.0.0.1:9", "--data", str(data),
        "--state", str(tmp_path / "s"), "--enrol-token", "t",
    )  # fmt: skip

    assert result.exit_code == 4
    assert "check --server" in result.stderr


def test_a_missing_folder_of_images_is_code_3(tmp_path):
    result = call(
        "run", "--once", "--server", "http://127.0.0.1:9", "--data", str(tmp_path / "nowhere"),
        "--state", str(tmp_path / "s"),
    )  # fmt: skip

    assert result.exit_code == 3
    assert "no folder" in result.stderr


def test_a_state_that_cannot_be_written_is_code_8(tmp_path, data):
    (tmp_path / "file").write_text("")
    result = call(
        "run", "--once", "--server", "http://127.0.0.1:9", "--data", str(data),
        "--state", str(tmp_path / "file" / "s"),
    )  # fmt: skip

    assert result.exit_code == 8
    assert "folder" in result.stderr


def test_the_status_of_a_new_box_is_told(tmp_path):
    result = call("status", "--json", "--state", str(tmp_path))

    assert result.exit_code == 0
    assert json.loads(result.stdout)["step"] == "new"
    assert json.loads(result.stdout)["last_answer_at"] is None


def test_the_status_of_a_working_box_names_model_and_reason(open_box, settings):
    open_box().run_once()
    facts = json.loads(call("status", "--json", "--state", str(settings.state)).stdout)

    assert facts["step"] == "active"
    assert facts["active_model"]["variant"] == "xcep-tiny"
    assert facts["why"] == "it is the most accurate that fits"
    assert facts["outbox"]["reports"] == 0
    heard_at = datetime.fromisoformat(facts["last_answer_at"])
    assert timedelta(0) <= datetime.now(UTC) - heard_at < timedelta(minutes=10)
    assert "rss_watchdog" in facts["cap_kinds"]
    assert "xcep-tiny" in call("status", "--state", str(settings.state)).stdout


def test_a_corrupt_state_is_code_8(tmp_path):
    (tmp_path / "state.json").write_text("{")
    result = call("status", "--state", str(tmp_path))

    assert result.exit_code == 8
    assert "move it away" in result.stderr


def test_a_prediction_is_printed(open_box, settings, tmp_path):
    open_box().run_once()
    (tmp_path / "a.png").write_bytes(image_bytes(220))
    result = call("predict", "--json", "--state", str(settings.state), str(tmp_path / "a.png"))

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["label"] == "defect"
    plain = call("predict", "--state", str(settings.state), str(tmp_path / "a.png"))
    assert plain.stdout.startswith("defect ")


@pytest.mark.parametrize(("name", "content"), [("none.png", None), ("bad.png", b"no image")])
def test_an_image_that_cannot_be_read_is_code_9(open_box, settings, tmp_path, name, content):
    open_box().run_once()
    if content is not None:
        (tmp_path / name).write_bytes(content)

    assert call("predict", "--state", str(settings.state), str(tmp_path / name)).exit_code == 9


def test_without_a_model_there_is_no_prediction(tmp_path):
    (tmp_path / "a.png").write_bytes(image_bytes())
    result = call("predict", "--state", str(tmp_path), str(tmp_path / "a.png"))

    assert result.exit_code == 9
    assert "no model is active" in result.stderr


def test_labels_are_pairs():
    assert parse_labels(["line=3", "site=a=b"]) == {"line": "3", "site": "a=b"}


def test_no_secret_reaches_the_log_or_the_state(open_box, settings, fleet, capsys):
    configure_logging(verbose=True, as_json=True)
    open_box("crash").run_once()
    captured = capsys.readouterr()
    kept = [p for p in settings.state.rglob("*") if p.is_file() and p.name != "identity.json"]

    for secret in ("enrol-secret-token", "device-secret-token"):
        assert secret not in captured.out + captured.err
        assert all(secret.encode() not in path.read_bytes() for path in kept)
    assert fleet.registered == 1


def test_an_idle_agent_loads_nothing_heavy():
    script = (
        "import sys, json\n"
        "import device_agent.cli, device_agent.assemble, device_agent.serving.serve\n"
        f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
        "rss = [l for l in open('/proc/self/status') if l.startswith('VmRSS')][0].split()[1]\n"
        "print(rss)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    loaded, rss_kib = done.stdout.splitlines()

    assert json.loads(loaded) == []
    assert int(rss_kib) * 1024 < 75_000_000
