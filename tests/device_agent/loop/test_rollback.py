"""Going back to an older model: by a person, by failing predictions, with and without an agent."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from device_agent.assemble import open_agent
from device_agent.cli import app
from device_agent.disk.paths import StatePaths
from device_agent.disk.rollback_request import RollbackRequest, has_request, write_request
from device_agent.disk.shelf import MODEL, Shelf
from device_agent.errors import NothingToRollBackError, ServerAwayError
from device_agent.loop.agent import Agent
from device_agent.loop.rollback import FAILURES_BEFORE_ROLLBACK, after_failures, ask, obey
from device_agent.loop.state import TABLE, BoxState, StateStore
from device_agent.loop.steps import clear
from device_agent.loop.world import World
from device_agent.serving.predict import Predictor
from device_agent.settings import AgentSettings
from tests.device_agent.conftest import fine_images, image_bytes, make_profile, trainer
from tests.device_agent.fleet import ENROL_TOKEN, FleetSim, point

OLD, NEW = "xcep-tiny", "xcep-other"


@pytest.fixture
def paths(settings):
    return StatePaths(settings.state)


@contextlib.contextmanager
def agent_of(settings, fleet, mode: str = "good") -> Iterator[Agent]:
    """Yield an agent, and end it: unlike ``open_box``, which leaves its last agent running."""
    world = World(sleep=lambda _: None, chance=Random(0))  # noqa: S311 - jitter
    with open_agent(
        settings, http=fleet.client(), world=world, trainer=trainer(mode), profile=make_profile,
        try_model=lambda *_: None, look_at_data=lambda *_: fine_images(),
    ) as agent:  # fmt: skip
        yield agent


@pytest.fixture(scope="module")
def grown_state(tmp_path_factory):
    """The state folder of a box that trained the old model, then the new one."""
    folder, fleet = tmp_path_factory.mktemp("grown"), FleetSim()
    facts = {"server": "http://fleet.test", "name": "box", "enrol_token": ENROL_TOKEN}
    settings = AgentSettings.model_validate(facts | {"data": folder, "state": folder / "state"})
    for name in (OLD, NEW):
        fleet.points = [point(name)]
        fleet.generation += 1
        with agent_of(settings, fleet) as agent:
            assert agent.run_once() == "active"
    return settings.state


@pytest.fixture
def grown(grown_state, settings, fleet):
    """A box with an old and a new model; the server, which asks for the new one, is away."""
    shutil.copytree(grown_state, settings.state, symlinks=True)
    fleet.points, fleet.generation, fleet.away = [point(NEW)], 3, True


def serving(paths) -> str:
    shelf = Shelf(paths)
    return shelf.verified(shelf.candidates()[0])[0].variant


def call(paths, *more: str):
    """Run the command; returns its exit code and what it printed."""
    done = CliRunner().invoke(app, ["rollback", "--state", str(paths.root), "--json", *more])
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.usefixtures("grown")
def test_beside_a_running_agent_it_takes_effect_at_once(settings, fleet, paths):
    with agent_of(settings, fleet) as agent:
        code, facts = call(paths)

        assert (code, facts["entered"]) == (0, False)
        assert serving(paths) == OLD
        assert agent.state.step == "active", "the agent has not come round yet"


@pytest.mark.usefixtures("grown")
def test_the_agent_enters_it_without_the_server_and_reports_it_later(settings, fleet, paths):
    with agent_of(settings, fleet) as agent:
        call(paths, "--reason", "too many false alarms")
        with pytest.raises(ServerAwayError):
            agent.cycle()

        assert agent.state.step == "rolled_back"
        assert agent.box.shelf.active().variant == OLD
        assert not has_request(paths)
        fleet.away = False
        agent.cycle()

    outcome = fleet.outcomes()[-1]
    assert (outcome.status, outcome.point_key) == ("rolled_back", point(NEW).key)
    assert "too many false alarms" in outcome.reason
    assert outcome.model_sha256 == Shelf(paths).active().sha256


@pytest.mark.usefixtures("grown")
def test_where_no_agent_runs_it_is_entered_at_once(settings, fleet, paths):
    code, facts = call(paths)

    assert (code, facts["entered"]) == (0, True)
    state = StateStore(paths).load()
    assert (state.step, state.outcome.status) == ("rolled_back", "rolled_back")
    assert Shelf(paths).active().variant == OLD
    fleet.away = False
    with agent_of(settings, fleet, "crash") as agent:
        assert agent.run_once() == "rolled_back"
    assert [o.status for o in fleet.outcomes()].count("rolled_back") == 1


@pytest.mark.usefixtures("grown")
def test_the_same_orders_train_nothing_until_they_change(settings, fleet, paths):
    call(paths)
    fleet.away = False
    with agent_of(settings, fleet, "crash") as agent:
        for _ in range(3):
            agent._save(agent.state.model_copy(update={"etag": None}))  # noqa: SLF001 - a lost tag
            assert agent.run_once() == "rolled_back"
    fleet.generation += 1

    with agent_of(settings, fleet) as agent:
        assert agent.run_once() == "active"
    assert serving(paths) == NEW


@pytest.mark.usefixtures("grown")
@pytest.mark.parametrize("runs", [True, False])
def test_undoing_brings_the_model_back_without_training(settings, fleet, paths, runs):
    call(paths)
    with agent_of(settings, fleet, "crash") if runs else contextlib.nullcontext():
        code, _ = call(paths, "--undo")
        assert (code, serving(paths)) == (0, NEW)
    fleet.away = False
    with agent_of(settings, fleet, "crash") as agent:
        assert agent.run_once() == "active"

    shelf = Shelf(paths)
    assert (shelf.active().variant, shelf.manifest(shelf.previous_id()).variant) == (NEW, OLD)
    assert [o.status for o in fleet.outcomes()][-2:] == ["rolled_back", "activated"]


@pytest.mark.usefixtures("grown")
def test_undoing_before_the_agent_came_round_undoes_it_too(settings, fleet, paths):
    with agent_of(settings, fleet, "crash") as agent:
        call(paths)
        assert call(paths, "--undo")[0] == 0
        assert serving(paths) == NEW
        with pytest.raises(ServerAwayError):
            agent.cycle()

        assert (agent.state.step, agent.box.shelf.active().variant) == ("active", NEW)


@pytest.mark.usefixtures("grown")
def test_asking_twice_is_one_rollback_and_never_a_step_further(paths):
    assert call(paths)[0] == 0
    code, said = call(paths, "--to", "previous")

    assert (code, said["error"]) == (2, "nothing_to_roll_back")
    assert "try --to factory" in said["reason"]
    assert serving(paths) == OLD


@pytest.mark.parametrize("more", [(), ("--undo",), ("--to", "factory"), ("--to", "previous")])
def test_a_box_with_nothing_to_go_back_to_says_so(paths, more):
    code, said = call(paths, *more)

    assert (code, said["error"]) == (2, "nothing_to_roll_back")
    assert not has_request(paths)


@pytest.mark.usefixtures("grown")
def test_a_damaged_last_known_good_is_never_switched_to(paths):
    shelf = Shelf(paths)
    (shelf.folder(shelf.previous_id()) / MODEL).write_bytes(b"rot")

    code, said = call(paths)

    assert (code, "the active model stays" in said["reason"]) == (2, True)
    assert serving(paths) == NEW


@pytest.mark.usefixtures("grown")
def test_a_rollback_ends_the_training_under_way(settings, fleet, paths):
    fleet.away = False
    fleet.points = [point("xcep-third")]
    fleet.generation += 1
    with agent_of(settings, fleet, "good+gentle") as agent:
        agent.box.world.__dict__["alive"] = lambda: (
            has_request(paths) or ask(paths, "previous", "stop")
        )
        assert agent.run_once() == "rolled_back"

    assert serving(paths) == OLD
    assert StateStore(paths).load().rollback.was_working
    call(paths, "--undo")
    with agent_of(settings, fleet) as agent:
        assert agent.run_once() == "active"
    assert serving(paths) == "xcep-third"


@pytest.mark.usefixtures("grown")
def test_what_a_rollback_needs_is_never_cleared(settings, fleet, paths):
    fleet.away = False
    needed = {sha for m in Shelf(paths).pinned() for sha in Shelf(paths).manifest(m).artifacts}
    assert needed
    fleet.action, fleet.generation = "idle", fleet.generation + 1
    with agent_of(settings, fleet) as agent:
        agent.run_once()
        clear(agent.box, agent.state.model_copy(update={"desired": None}))

        assert needed <= {path.name for path in paths.cache.iterdir()}
        assert len(list(paths.models.iterdir())) == 2
    assert call(paths)[0] == 0
    with agent_of(settings, fleet) as agent:
        clear(agent.box, agent.state.model_copy(update={"desired": None}))
    assert needed <= {path.name for path in paths.cache.iterdir()}
    assert call(paths, "--undo")[0] == 0
    assert serving(paths) == NEW


class Clock:
    """Moves on by a minute with every question."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 60
        return self.seconds


@pytest.mark.usefixtures("grown")
def test_a_model_that_keeps_failing_is_rolled_back_by_itself(settings, fleet, paths):
    shelf = Shelf(paths)
    broken = shelf.folder(shelf.active_id()) / MODEL
    broken.write_bytes(b"rot")
    predictor = Predictor(
        shelf, lambda: None, None, monotonic=Clock(),
        on_failure=lambda *facts: after_failures(paths, *facts),
    )  # fmt: skip
    for _ in range(20):
        assert predictor.predict(image_bytes()).source == "device"

    fleet.away = False
    with agent_of(settings, fleet, "crash") as agent:
        assert agent.run_once() == "rolled_back"
    outcome = fleet.outcomes()[-1]
    assert (outcome.status, outcome.point_key) == ("rolled_back", point(NEW).key)
    assert f"failed {FAILURES_BEFORE_ROLLBACK} times in a row" in outcome.reason
    assert serving(paths) == OLD


@pytest.mark.usefixtures("grown")
def test_a_passing_trouble_rolls_nothing_back(paths):
    shelf = Shelf(paths)
    for failures in range(FAILURES_BEFORE_ROLLBACK):
        after_failures(paths, shelf.active_id(), failures, "it hung")
    after_failures(paths, shelf.previous_id(), 99, "not the active one")

    assert not has_request(paths)


@pytest.mark.usefixtures("grown")
def test_with_no_whole_model_to_go_back_to_it_stays(paths):
    shelf = Shelf(paths)
    (shelf.folder(shelf.previous_id()) / MODEL).write_bytes(b"rot")

    after_failures(paths, shelf.active_id(), FAILURES_BEFORE_ROLLBACK, "it hung")

    assert not has_request(paths)


@pytest.mark.usefixtures("grown")
@given(step=st.sampled_from(sorted(TABLE)), goal=st.sampled_from(["previous", "undo"]))
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_obeying_twice_is_obeying_once(paths, step, goal):
    shelf = Shelf(paths)
    first, second = sorted(shelf.pinned())[:2]
    shelf.activate(first)
    shelf.activate(second)
    if goal == "undo":
        shelf.go_back(first)
    target = shelf.previous_id() or shelf.rolled_back_id()
    request = RollbackRequest(request_id="r", goal=goal, model_id=target, reason="why")
    state = BoxState(step=step)

    once = obey(request, state, shelf)
    links = (shelf.active_id(), shelf.previous_id(), shelf.rolled_back_id())
    again = obey(request, state, shelf)
    after = obey(request, once.state, shelf)

    assert again == once
    assert after.state == once.state
    assert links == (shelf.active_id(), shelf.previous_id(), shelf.rolled_back_id())
    assert shelf.active_id() == target


@pytest.mark.usefixtures("grown")
def test_a_model_that_vanished_meanwhile_is_reported_and_changes_nothing(settings, fleet, paths):
    request = RollbackRequest(request_id="r", goal="previous", model_id="gone", reason="why")
    write_request(paths, request)
    fleet.away = False

    with agent_of(settings, fleet) as agent:
        assert agent.run_once() == "active"

    assert serving(paths) == NEW
    assert not has_request(paths)
    names = [r.body.name for r in fleet.reports.values() if r.body.kind == "event"]
    assert "rollback_failed" in names


def test_a_request_that_makes_no_sense_is_dropped(settings, fleet, paths):
    paths.make()
    paths.rollback.write_bytes(b"{")

    with agent_of(settings, fleet) as agent:
        assert agent.run_once() == "active"
    assert not has_request(paths)


def test_asking_for_what_is_active_is_refused(paths, settings, fleet):
    with agent_of(settings, fleet) as agent:
        agent.run_once()
        agent.box.shelf.set_factory(agent.box.shelf.active_id())

    with pytest.raises(NothingToRollBackError, match="is active already"):
        ask(paths, "factory", "why")
