"""Killed between any two lasting effects and started again, the box ends where it should."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from contract.report import ProfileBody
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Shelf
from tests.device_agent.conftest import FAKE_TRAINER, make_profile
from tests.device_agent.fleet import ENROL_TOKEN, FleetSim

NURSERY = Path(__file__).parents[1] / "nursery.py"
MARKS = (
    "registered",
    "identity saved",
    "saved enrolled",
    "saved profiled",
    "saved assigned",
    "saved fetched",
    "saved verified",
    "dry run done",
    "training done",
    "saved trained",
    "saved evaluated",
    "model installed",
    "model switched",
    "reported outcome",
    "saved active",
    "reports sent",
    "reports acknowledged",
)


class Killed(BaseException):
    """Not an Exception: nothing in the agent may catch it."""


class Killer:
    """Raises at one mark, once."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.seen: list[str] = []

    def __call__(self, mark: str) -> None:
        self.seen.append(mark)
        if mark == self.mark:
            self.mark = ""
            raise Killed


def check_whole(state: Path, fleet: FleetSim) -> None:
    """Assert that one model is active, whole, trained once and reported once."""
    shelf = Shelf(StatePaths(state))
    manifest, _ = shelf.verified(shelf.active_id())
    activated = [o for o in fleet.outcomes() if o.status == "activated"]
    assert [o.model_sha256 for o in activated] == [manifest.sha256]
    (started,) = state.glob("jobs/*/out/started")
    assert started.read_text() == "x"
    leftovers = [p for p in state.rglob("*") if p.name.startswith((".new-", ".state", ".identity"))]
    assert leftovers == []
    assert not list(state.glob("cache/*.part"))


@pytest.mark.parametrize("mark", MARKS)
def test_a_break_between_any_two_effects_heals(open_box, fleet, settings, mark):
    agent = open_box()
    killer = Killer(mark)
    object.__setattr__(agent.box.world, "mark", killer)
    with contextlib.suppress(Killed):
        agent.run_once()
    assert mark in killer.seen

    assert open_box().run_once() == "active"
    check_whole(settings.state, fleet)
    assert fleet.registered <= 2


def test_a_break_after_a_profile_report_sends_it_again(open_box, fleet):
    open_box().run_once()
    agent = open_box(profile=lambda: make_profile(n_ok=9))
    object.__setattr__(agent.box.world, "mark", Killer("reported profile"))
    with pytest.raises(Killed):
        agent.run_once()

    assert open_box(profile=lambda: make_profile(n_ok=9)).run_once() == "active"
    profiles = [r.body.profile for r in fleet.reports.values() if isinstance(r.body, ProfileBody)]
    assert profiles
    assert all(profile.n_ok == 9 for profile in profiles)


AGENT = """
import os, signal, sys
from pathlib import Path
from device_agent.assemble import open_agent
from device_agent.settings import AgentSettings
from device_agent.training.trainer import Trainer
from device_agent.loop.world import World
from tests.device_agent.conftest import fine_images, make_profile

url, data, state, token, trainer, mark = sys.argv[1:]
def kill(name):
    if name == mark:
        os.kill(os.getpid(), signal.SIGKILL)
settings = AgentSettings(
    server=url, data=Path(data), state=Path(state), enrol_token=token, name="b"
)
with open_agent(
    settings, world=World(mark=kill), profile=make_profile, try_model=lambda *_: None,
    look_at_data=lambda *_: fine_images(),
    trainer=Trainer(command=(sys.executable, "-S", trainer, "good")),
) as agent:
    print(agent.run_once())
"""


@pytest.fixture
def url(fleet: FleetSim) -> Iterator[str]:
    """Put the simulated fleet behind a real socket."""

    class Bridge(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
            request = httpx2.Request(
                self.command, f"http://fleet{self.path}", content=body, headers=headers
            )
            response = fleet.handle_request(request)
            content = b"".join(response.stream)
            self.send_response(response.status_code)
            for key, value in response.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def run_agent(tmp_path: Path, url: str, data: Path, mark: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "agent.py"
    script.write_text(AGENT)
    arguments = [url, str(data), str(tmp_path / "state"), ENROL_TOKEN, str(FAKE_TRAINER), mark]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}  # noqa: PTH109 - the repository
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env=environment,
        timeout=60, check=False,
    )  # fmt: skip


def test_sigkill_and_a_new_process_converge(tmp_path, url, data, fleet):
    assert run_agent(tmp_path, url, data, "model switched").returncode == -signal.SIGKILL

    healed = run_agent(tmp_path, url, data, "")

    assert healed.stdout.endswith("active\n"), healed.stderr
    check_whole(tmp_path / "state", fleet)
    assert json.loads((tmp_path / "state" / "state.json").read_text())["step"] == "active"


SEEDS = 4
KILLS = 130
BOXES = 5


@pytest.mark.parametrize("seed", range(SEEDS))
def test_hundreds_of_sigkills_anywhere_leave_the_old_or_the_new_model(tmp_path, seed):
    """130 real kills each, 520 in all: at every mark once, then at random marks and moments and
    just before a random touch of the disk.

    What is checked after each death, and at the end of each phase, is in ``nursery.py``.
    """
    arguments = [tmp_path, seed, KILLS, seed * BOXES]
    done = subprocess.run(
        [sys.executable, NURSERY, *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=600, check=False,  # noqa: PTH109
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["kills"] >= KILLS
    assert told["boxes"] >= BOXES
    assert max(told["marks"].values()) <= SEEDS * BOXES, "every mark has its box"
    for phase in told["marks"]:
        assert told["where"][f"{phase} at a mark"]
    assert {"verified", "active", "rolled_back"} <= set(told["steps"])
    assert told["cpu_seconds"] < 60
