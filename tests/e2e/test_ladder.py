"""The whole ladder, walked in order by a real agent against the real server, in one process.

The catalogue promises too little memory for every plan; the trainer is a real child that takes more
for each image of a micro-batch.
"""

import json
import sys
from pathlib import Path

import pytest

from contract.policy import PolicyBody
from device_agent.assemble import open_agent
from device_agent.loop.world import World
from device_agent.settings import AgentSettings
from device_agent.training.trainer import Trainer
from tests.app.release_maker import point, release_folder
from tests.device_agent.conftest import fine_images, image_bytes, make_profile
from tests.e2e.conftest import fleet_server

SIZED_TRAINER = Path(__file__).parents[1] / "device_agent" / "sized_trainer.py"
OPERATOR_CAP = 150_000_000
TOO_MUCH_MB, HALF_MB = 90, 25
POINTS = (
    point("large", cut="stem", accuracy=0.96, workload_mb=40, micro_batch=4),
    point("large", cut="head", accuracy=0.93, workload_mb=30, micro_batch=4),
    point("small", cut="stem", accuracy=0.90, workload_mb=20, micro_batch=4),
    point("small", cut="head", accuracy=0.85, workload_mb=10, micro_batch=4),
)
RUNGS = ["4 dry", "2 dry", "1 dry"]


@pytest.fixture
def data(tmp_path):
    for name, level in (("ok", 30), ("defect", 220)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(image_bytes(level))
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path):
    """The real application: four plans, a policy that lets images go to the cloud, one token."""
    folder = release_folder(tmp_path / "release", points=POINTS)
    policy = PolicyBody(priority=9, images_may_leave=True, fallback="nothing_fits")
    with fleet_server(tmp_path / "server", folder, policy) as fleet:
        yield fleet


@pytest.fixture
def walk(server, data, tmp_path):
    """Run the agent to where it settles; returns where, what was started and what was said."""
    client, token = server

    def run(sizes):
        log = tmp_path / "starts.log"
        settings = AgentSettings(
            server="http://fleet.test",
            data=data,
            state=tmp_path / "box",
            enrol_token=token,
            ram_cap=OPERATOR_CAP,
        )
        command = (sys.executable, "-S", str(SIZED_TRAINER), str(log), json.dumps(sizes))
        agent = open_agent(
            settings,
            http=client,
            world=World(sleep=lambda _: None),
            trainer=Trainer(command=command),
            profile=lambda: make_profile(operator_cap_bytes=OPERATOR_CAP, runtime_floor_bytes=1),
            try_model=lambda *_: None,
            look_at_data=lambda *_: fine_images(),
        )
        with agent as box:
            step = box.run_once()
            return step, log.read_text().splitlines(), box.state.outcome

    return run


def test_every_plan_is_tried_smaller_before_the_next_and_the_cloud_comes_last(walk):
    step, starts, outcome = walk({"*": TOO_MUCH_MB})

    order = ("large stem", "large head", "small stem", "small head")
    assert starts == [f"{plan} {rung}" for plan in order for rung in RUNGS]
    assert (step, outcome.status) == ("cloud", "cloud")


def test_the_walk_ends_at_the_first_rung_that_keeps_the_cap(walk):
    step, starts, outcome = walk({"*": TOO_MUCH_MB, "small stem": HALF_MB})

    above = [f"{plan} {rung}" for plan in ("large stem", "large head") for rung in RUNGS]
    assert starts == [*above, "small stem 4 dry", "small stem 2 dry", "small stem 2 full"]
    assert (step, outcome.status, outcome.micro_batch) == ("active", "activated", 2)
