"""The state folder of a box that has trained once; making one takes a while, a copy does not."""

import shutil
from random import Random

import pytest

from device_agent.assemble import open_agent
from device_agent.loop.world import World
from device_agent.settings import AgentSettings
from tests.device_agent.conftest import Clock, fine_images, image_bytes, make_profile, trainer
from tests.device_agent.fleet import ENROL_TOKEN, FleetSim


@pytest.fixture(scope="session")
def finished_box(tmp_path_factory):
    """The state folder of a box with an active model, made once; tests take copies."""
    folder, clock = tmp_path_factory.mktemp("finished"), Clock()
    for name, level in (("ok", 30), ("defect", 220)):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(5):
            (folder / "data" / name / f"{number}.png").write_bytes(image_bytes(level + number))
    settings = AgentSettings(
        server="http://fleet.test", data=folder / "data", state=folder / "state", name="box",
        enrol_token=ENROL_TOKEN, ram_cap=256_000_000,
    )  # fmt: skip
    chance = Random(0)  # noqa: S311 - jitter
    world = World(now=clock.now, monotonic=clock.monotonic, sleep=clock.sleep, chance=chance)
    with open_agent(
        settings, http=FleetSim().client(), world=world, trainer=trainer(), profile=make_profile,
        try_model=lambda *_: None, look_at_data=lambda *_: fine_images(),
    ) as agent:  # fmt: skip
        agent.run_once()
    return settings.state


@pytest.fixture
def stopped_box(finished_box, settings):
    """A copy of the finished box where the settings say that the state lies."""
    shutil.copytree(finished_box, settings.state, symlinks=True)
    return settings.state
