"""The whole product, twice round: real server, real boxes under their caps, real fine-tuning."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo.fleet import POLICY, settle, start_boxes, start_server
from demo.processes import free_port, run_tool
from models.release import FILES_FOLDER, write_release
from tests.e2e.conftest import STARTER

MEGABYTE = 1_000_000
CAP_BYTES = {"box-256MB": 256 * MEGABYTE, "box-700MB": 700 * MEGABYTE, "box-4GB": 4000 * MEGABYTE}
FLOOR = 0.3
"""Low: a score on two dozen held-back tiles is a coarse one."""


@contextlib.contextmanager
def fleet(folder, data):
    """A server with the starter release and three boxes at work; all are stopped at the end."""
    with running_server(folder) as (server, programs):
        yield server, start_boxes(server, data=data, folder=folder, programs=programs)


@contextlib.contextmanager
def running_server(folder):
    """A server with the starter release, and the list of what will be stopped at the end."""
    programs = []
    port = free_port(0)
    try:
        server = start_server(folder / "server", STARTER, port=port, floor=FLOOR, programs=programs)
        yield server, programs
    finally:
        for program in reversed(programs):
            program.stop()


def settled(server, boxes):
    rows = settle(server, boxes, lambda _: None)
    return {row["device"]["serial"]: row for row in rows}


def predict(folder, name, image):
    """Ask a box's own command line; returns the exit code and the answer or the message."""
    script = Path(sys.executable).with_name("device_agent")
    command = [script, "predict", image, "--state", folder / name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def raise_floor(server, floor, folder):
    """Give the demo's policy a new version with a higher floor."""
    policy = server.get(f"/v1/policies/{POLICY}")["body"] | {"accuracy_floor": floor}
    path = folder / "raised.json"
    path.write_text(json.dumps(policy))
    run_tool("paretofleet", "policy", "set", POLICY, str(path), env=server.environment)


def publish_second_release(server, starter, folder):
    """Load the starter's networks again as release 2, as a lab would after new measurements."""
    second = starter.model_copy(update={"number": 2, "title": "Second release"})
    write_release(folder / "second", second, list((STARTER / FILES_FOLDER).iterdir()))
    second_folder = str(folder / "second")
    run_tool("paretofleet", "release", "load", second_folder, env=server.environment)


def check_first_round(rows):
    for name, row in rows.items():
        outcome, decision = row["outcome"], row["decision"]
        assert outcome["status"] == "activated", (name, outcome["reason"])
        assert outcome["peak_rss_bytes"] <= outcome["cap_bytes"] < CAP_BYTES[name]
        assert outcome["balanced_accuracy_after"] >= FLOOR
        assert decision["budget"]["bound_by"] == "operator_cap"
        assert any(verdict["failures"] for verdict in decision["verdicts"]) or name == "box-4GB"
    plans = {
        (row["decision"]["chosen"]["variant"], json.dumps(row["decision"]["chosen"]["plan"]))
        for row in rows.values()
    }
    assert len(plans) == len(rows), "every box got a plan of its own"


def test_three_boxes_twice_round_on_generated_tiles(tmp_path, generated_tiles, starter):
    image = next((generated_tiles / "defect").iterdir())
    with fleet(tmp_path, generated_tiles) as (server, boxes):
        first = settled(server, boxes)
        check_first_round(first)
        code, answer = predict(tmp_path, "box-256MB", image)
        assert (code, answer["source"]) == (0, "device")

        bounds = [row["decision"]["chosen"]["accuracy_lower"] for row in first.values()]
        assert bounds[0] < min(bounds[1:]), "the smallest box promises least"
        raise_floor(server, bounds[0] + 0.005, tmp_path)
        publish_second_release(server, starter, tmp_path)
        second = settled_on_release(server, boxes, 2)

        assert second["box-256MB"]["outcome"]["status"] == "cloud"
        assert "accuracy" in second["box-256MB"]["decision"]["why"]
        for name in ("box-700MB", "box-4GB"):
            assert second[name]["outcome"]["release_number"] == 2
            assert second[name]["outcome"]["status"] in {"activated", "below_floor"}
            code, answer = predict(tmp_path, name, image)
            assert (code, answer["source"]) == (0, "device")
        code, answer = predict(tmp_path, "box-256MB", image)
        assert code == 0
        assert answer["source"] in {"cloud", "device"}


def settled_on_release(server, boxes, number):
    """Settle again until every box has answered for that release."""
    for _ in range(200):
        rows = settled(server, boxes)
        if all(row["decision"]["release_number"] == number for row in rows.values()):
            return rows
    pytest.fail(f"the boxes did not take up release {number}")


def test_three_boxes_on_a_real_board(tmp_path, real_tiles):
    with fleet(tmp_path, real_tiles) as (server, boxes):
        rows = settled(server, boxes)

    for name, row in rows.items():
        outcome = row["outcome"]
        assert outcome["status"] in {"activated", "cloud"}, (name, outcome["reason"])
        if outcome["status"] == "activated":
            assert outcome["peak_rss_bytes"] <= outcome["cap_bytes"]


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_box_without_usable_images_says_what_to_do(tmp_path, folder):
    data = tmp_path / folder
    if folder == "empty":
        (data / "ok").mkdir(parents=True)
        (data / "defect").mkdir()
    with running_server(tmp_path) as (server, _):
        script = str(Path(sys.executable).with_name("device_agent"))
        options = ["--server", server.url, "--data", str(data), "--once", "--name", "bare"]
        token = ["--state", str(tmp_path / "bare"), "--enrol-token", server.enrol_token(uses=1)]
        done = subprocess.run(
            [script, "run", *options, *token],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode not in {0, 1}
    assert str(data) in done.stderr
    assert "Traceback" not in done.stderr
