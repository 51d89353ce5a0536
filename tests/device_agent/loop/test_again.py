"""A box that trains again by itself, waits for its line, and keeps what is better."""

from datetime import timedelta

import pytest

from contract.report import EventBody, InferenceSummaryBody
from contract.rules import BoxRules, TrainingWindow
from device_agent.errors import AgentError
from device_agent.loop.again import with_drift
from device_agent.loop.status import read_status
from tests.device_agent.conftest import make_profile
from tests.device_agent.fleet import point

SHUT = TrainingWindow(weekdays=("sat",), start="02:00", minutes=60)
"""The tests' clock starts on a Monday."""
OPEN = TrainingWindow(weekdays=("mon",), start="00:00", minutes=60)


def more_images():
    return make_profile(n_ok=15, n_defect=9)


@pytest.fixture
def fleet(fleet):
    fleet.rules = BoxRules(retrain_after_labels=10)
    return fleet


@pytest.fixture
def settled(open_box, clock):
    """Open the box once, so that it is active, and let its cool-down pass."""
    open_box("good").run_once()
    clock.seconds += 25 * 3600
    return open_box


def events(fleet):
    ordered = sorted(fleet.reports.values(), key=lambda report: report.sequence)
    return [r.body.name for r in ordered if isinstance(r.body, EventBody)]


def write_hook(settings, tmp_path, *lines):
    program = tmp_path / "ready"
    program.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    program.chmod(0o755)
    return settings.model_copy(update={"ready_hook": program})


def with_hook(agent, tmp_path, *lines):
    """Give an open agent the operator's program."""
    object.__setattr__(agent.box, "settings", write_hook(agent.box.settings, tmp_path, *lines))
    return agent


def test_enough_new_labels_train_a_better_model(settled, fleet):
    agent = settled("surpass", profile=more_images)
    before = agent.box.shelf.active_id()

    assert agent.run_once() == "active"

    active = agent.box.shelf.active()
    assert active.model_id != before
    assert active.balanced_accuracy == 0.93
    assert agent.box.shelf.previous_id() == before
    assert (agent.box.shelf.folder(active.model_id) / "seen.txt").is_file()
    assert fleet.outcomes()[-1].balanced_accuracy_after == 0.93


def test_the_same_labels_train_nothing(settled, fleet):
    agent = settled("crash")

    assert agent.run_once() == "active"
    assert len(fleet.outcomes()) == 1


def test_one_training_is_enough_for_the_same_labels(settled, clock):
    settled("surpass", profile=more_images).run_once()
    clock.seconds += 25 * 3600

    assert settled("crash", profile=more_images).run_once() == "active"


def test_a_model_that_falls_short_leaves_the_one_in_use(settled, fleet):
    agent = settled("fall_short", profile=more_images)
    before = agent.box.shelf.active_id()

    assert agent.run_once() == "active"

    assert agent.box.shelf.active_id() == before
    outcome = fleet.outcomes()[-1]
    assert outcome.status == "activated"
    assert (outcome.balanced_accuracy_after, outcome.n_test) == (0.93, 30)
    assert outcome.model_sha256 == agent.box.shelf.active().sha256
    assert "the one in use stays" in outcome.reason
    assert agent.state.retraining is None


def test_where_both_are_under_the_floor_the_server_hears_so(settled, fleet):
    agent = settled("both_poor", profile=more_images)
    before = agent.box.shelf.active_id()

    assert agent.run_once() == "idle"

    assert [o.status for o in fleet.outcomes()][-2:] == ["below_floor", "idle"]
    assert agent.box.shelf.active_id() == before


def test_a_retraining_that_crashes_costs_the_box_nothing(settled, fleet):
    agent = settled("crash", profile=more_images)

    assert agent.run_once() == "active"

    assert len(fleet.outcomes()) == 1
    assert "retraining_failed" in events(fleet)
    assert settled("crash", profile=more_images).run_once() == "active"


def test_drift_calls_for_a_training(settled, fleet):
    fleet.rules = BoxRules(retrain_on_drift=True)
    agent = settled("surpass")
    hour = {"window_start": agent.box.world.now(), "window_s": 3600, "counts": {}}
    calm = InferenceSummaryBody(**hour, cloud_count=0, drift=0.2)
    assert not with_drift(agent.box, agent.state, calm).drifted

    agent.state = with_drift(agent.box, agent.state, calm.model_copy(update={"drift": 0.3}))

    assert agent.run_once() == "active"
    assert agent.box.shelf.active().balanced_accuracy == 0.93
    assert not agent.state.drifted


def test_age_calls_for_a_training(settled, fleet):
    fleet.rules = BoxRules(retrain_every_days=1)
    agent = settled("surpass")

    assert agent.run_once() == "active"
    assert agent.box.shelf.active().balanced_accuracy == 0.93


def test_a_clock_that_was_set_back_delays_the_next_training_by_one_period(settled, fleet, clock):
    fleet.rules = BoxRules(retrain_every_days=1)
    clock.skew = timedelta(days=-3650)
    assert settled("crash").run_once() == "active"

    clock.seconds += 25 * 3600

    assert settled("surpass").run_once() == "active"
    assert len(fleet.outcomes()) > 1


def test_a_busy_line_puts_a_retraining_off_and_is_asked_again(settled, fleet, tmp_path):
    agent = with_hook(settled("surpass", profile=more_images), tmp_path, "echo order 17", "exit 75")

    assert agent.run_once() == "active"
    assert agent.run_once() == "active"

    deferred = [o for o in fleet.outcomes() if o.status == "deferred"]
    assert [o.reason for o in deferred] == ["the line is busy: order 17"]
    assert read_status(agent.box.paths)["training_waits_because"] == "the line is busy: order 17"
    write_hook(agent.box.settings, tmp_path, "exit 0")
    assert agent.run_once() == "active"
    assert agent.box.shelf.active().balanced_accuracy == 0.93
    assert agent.state.put_off is None


def test_a_busy_line_puts_the_first_training_off_without_a_failed_attempt(
    open_box, fleet, tmp_path
):
    agent = with_hook(open_box("good"), tmp_path, "exit 1")
    for _ in range(5):
        with pytest.raises(AgentError, match="the line is busy") as caught:
            agent.run_once()

    assert (caught.value.name, caught.value.exit_code) == ("deferred", 6)
    assert [o.status for o in fleet.outcomes()] == ["deferred"]
    assert (agent.state.attempts, agent.state.starts) == (0, 0)
    write_hook(agent.box.settings, tmp_path, "exit 0")
    assert agent.run_once() == "active"


def test_an_agent_that_waits_goes_on_polling_at_its_own_pace(open_box, fleet, clock, tmp_path):
    agent = with_hook(open_box("good"), tmp_path, "exit 1")

    def pause(seconds):
        clock.sleep(seconds)
        if len(clock.waits) == 4:
            agent.box.world.stop.set()

    object.__setattr__(agent.box.world, "sleep", pause)
    agent.run_forever()

    assert max(clock.waits) <= 60
    assert [o.status for o in fleet.outcomes()] == ["deferred"]


def test_a_hook_that_cannot_be_run_is_reported_once(open_box, fleet, settings):
    agent = open_box("good")
    broken = settings.model_copy(update={"ready_hook": settings.state / "no-hook"})
    object.__setattr__(agent.box, "settings", broken)
    for _ in range(3):
        with pytest.raises(AgentError, match="is no file"):
            agent.run_once()

    assert events(fleet).count("ready_hook_failed") == 1


def test_a_box_without_a_model_trains_outside_the_windows(open_box, fleet):
    fleet.rules = BoxRules(training_windows=(SHUT,))

    assert open_box("good").run_once() == "active"


def test_a_box_with_a_model_waits_for_its_window(open_box, fleet, clock):
    open_box("good").run_once()
    fleet.points = [point("xcep-other")]
    fleet.rules = BoxRules(training_windows=(SHUT,))
    with pytest.raises(AgentError, match=r"opens on 2026-06-06 at 02:00 UTC"):
        open_box("better").run_once()

    clock.seconds = 5 * 86_400 + 2 * 3600 + 60

    assert open_box("better").run_once() == "active"


def test_a_training_stops_when_its_window_ends_and_goes_on_in_the_next(open_box, fleet, clock):
    open_box("good").run_once()
    clock.seconds = 0.0
    fleet.points = [point("xcep-other")]
    fleet.rules = BoxRules(training_windows=(OPEN,))
    agent = open_box("good+gentle", on_progress=lambda _: clock.sleep(7200))

    with pytest.raises(AgentError, match=r"opens on 2026-06-08 at 00:00 UTC"):
        agent.run_once()

    assert agent.state.step == "verified"
    assert agent.state.attempts == 0
    clock.seconds = 7 * 86_400 + 60
    assert open_box("better").run_once() == "active"


def test_a_box_that_restarts_goes_on_with_its_retraining(settled):
    agent = settled("bad_input", profile=more_images)
    with pytest.raises(AgentError):
        agent.run_once()
    assert "new labelled images" in read_status(agent.box.paths)["trains_again_because"]

    again = settled("surpass", profile=more_images)

    assert again.run_once() == "active"
    assert again.box.shelf.active().balanced_accuracy == 0.93
