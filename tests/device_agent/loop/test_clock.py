"""The wall clock may jump by years, at any moment: nothing that the box decides depends on it."""

from datetime import timedelta
from random import Random

import pytest

from contract.inference import Prediction
from contract.report import InferenceSummaryBody
from device_agent.assemble import open_agent
from device_agent.loop.world import World
from device_agent.settings import AgentSettings
from tests.device_agent.conftest import Clock, fine_images, make_profile, trainer
from tests.device_agent.fleet import ENROL_TOKEN, FleetSim, cloud_prediction

YEAR = timedelta(days=365)
JUMPS = (-5 * YEAR, 2 * YEAR, timedelta(days=-2), timedelta(days=2))


def live_through(folder, jump, at_mark):
    """Train, then poll for two hours; the clock jumps after the ``at_mark``-th lasting effect.

    Returns every decision: requests, waits, kinds and contents of reports, and what serves; no
    stamp of the wall clock.
    """
    (folder / "data" / "ok").mkdir(parents=True)
    clock, fleet, seen = Clock(), FleetSim(next_poll_s="600"), []

    def mark(name):
        seen.append(name)
        if len(seen) == at_mark:
            clock.skew += jump

    world = World(
        now=clock.now, monotonic=clock.monotonic, sleep=clock.sleep, mark=mark,
        chance=Random(0),  # noqa: S311 - jitter
    )  # fmt: skip
    settings = AgentSettings(
        server="http://fleet.test", data=folder / "data", state=folder / "state", name="box",
        enrol_token=ENROL_TOKEN, ram_cap=256_000_000,
    )  # fmt: skip
    with open_agent(
        settings, http=fleet.client(), world=world, trainer=trainer(), profile=make_profile,
        try_model=lambda *_: None, look_at_data=lambda *_: fine_images(),
    ) as agent:  # fmt: skip
        assert agent.run_once() == "active"
        for _ in range(12):
            agent.window.note(Prediction.model_validate(cloud_prediction()))
            clock.sleep(600)
            agent.cycle()
        clock.sleep(25 * 3600)
        agent.cycle()
        model_id = agent.box.shelf.active_id()
    assert len(seen) >= at_mark
    reports = sorted(fleet.received, key=lambda report: report.sequence)
    kinds = [r.body.kind for r in reports if not isinstance(r.body, InferenceSummaryBody)]
    answers = sum(
        sum(r.body.counts.values()) for r in reports if isinstance(r.body, InferenceSummaryBody)
    )
    outcomes = [(o.status, o.generation, o.point_key) for o in fleet.outcomes()]
    polls = [path for _, path in fleet.requests if path.endswith("desired")]
    return (outcomes, kinds, answers, len(polls), clock.waits, model_id)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return live_through(tmp_path_factory.mktemp("calm"), timedelta(0), 1)


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("at_mark", [10, 24])
def test_a_jump_of_the_clock_changes_no_decision(tmp_path, calm, jump, at_mark):
    assert live_through(tmp_path, jump, at_mark) == calm


def test_a_profile_is_told_again_after_a_day_whatever_the_calendar_says(calm):
    _, kinds, answers, *_ = calm

    assert kinds.count("profile") == 1
    assert answers == 12
