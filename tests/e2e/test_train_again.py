"""New labels, a busy line, and a second training: real server, real fine-tuning, one box."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from contract.device import DeviceProfile
from contract.policy import PolicyBody
from device_agent.assemble import open_agent, profiler
from device_agent.disk.paths import StatePaths
from device_agent.loop.world import World
from device_agent.settings import AgentSettings
from models.data.generator.boards import write_board
from tests.device_agent.conftest import Clock
from tests.e2e.conftest import STARTER, fleet_server

POLICY = PolicyBody(
    priority=9,
    accuracy_floor=0.0,
    objective=("min_train_bytes",),
    retrain_after_labels=20,
    retrain_cooldown_hours=1.0,
)


@pytest.fixture
def server(tmp_path):
    with fleet_server(tmp_path / "server", STARTER, POLICY) as fleet:
        yield fleet


def more_tiles(folder: Path, board: int, n: int) -> None:
    made = folder.parent / f"board-{board}"
    write_board(made, board, n_ok=n, n_defect=n, px=128, seed=board)
    for label in ("ok", "defect"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for path in (made / label).iterdir():
            path.rename(folder / label / f"{board}-{path.name}")


def of_a_box(settings: AgentSettings) -> Callable[[], DeviceProfile]:
    """Take this machine's profile, but with an agent's size: the tests' own process is larger."""
    take = profiler(settings, StatePaths(settings.state))
    return lambda: take().model_copy(update={"agent_bytes": settings.allowance_bytes})


def test_new_labels_train_the_box_again_once_its_line_is_idle(server, tmp_path):
    client, token = server
    data, clock, hook = tmp_path / "data", Clock(), tmp_path / "idle"
    more_tiles(data, 9201, 14)
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    settings = AgentSettings(
        server="http://fleet.test", data=data, state=tmp_path / "box", enrol_token=token,
        ram_cap=400_000_000, ready_hook=hook,
    )  # fmt: skip
    world = World(now=clock.now, sleep=lambda _: None)
    with open_agent(settings, http=client, world=world, profile=of_a_box(settings)) as box:
        assert box.run_once() == "active"
        first = box.box.shelf.active()
        more_tiles(data, 9202, 12)
        clock.skew = timedelta(hours=2)

        hook.write_text("#!/bin/sh\necho the belt moves\nexit 75\n")
        assert box.run_once() == "active"
        assert box.state.put_off == "the line is busy: the belt moves"
        assert box.box.shelf.active_id() == first.model_id

        hook.write_text("#!/bin/sh\nexit 0\n")
        assert box.run_once() == "active"

    outcome = box.state.outcome
    assert outcome.status == "activated"
    assert box.state.trained_images == 52
    switched = box.box.shelf.active_id() != first.model_id
    assert switched is ("the one in use stays" not in outcome.reason)
    seen = box.box.shelf.folder(box.box.shelf.active_id()) / "seen.txt"
    assert len(seen.read_text().split()) > 10
    assert '"status":"deferred"' in stored_reports(client).replace(": ", ":")


def stored_reports(client) -> str:
    with client.app.state.runtime.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT body FROM reports").fetchall()
    return " ".join(str(body) for (body,) in rows)
