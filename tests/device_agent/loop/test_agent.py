"""The loop from enrolment to activation, and every way in which it goes wrong."""

import httpx2
import pytest

from device_agent.assemble import open_agent
from device_agent.errors import (
    DataUnusableError,
    DiskFullError,
    NonsenseError,
    NotLetInError,
    ServerAwayError,
    StateError,
    TruncatedError,
)
from tests.device_agent.conftest import make_profile
from tests.device_agent.fleet import FILES, Chunks, point, problem


def test_a_new_box_enrols_trains_and_activates(open_box, fleet):
    agent = open_box()

    assert agent.run_once() == "active"

    active = agent.box.shelf.active()
    assert active is not None
    assert active.balanced_accuracy == 0.95
    outcome = fleet.outcomes()[-1]
    assert outcome.status == "activated"
    assert outcome.peak_rss_bytes >= 60_000_000
    assert outcome.cap_bytes == 176_000_000
    assert "rss_watchdog" in outcome.cap_kinds
    assert "rlimit_data" in outcome.cap_kinds
    assert len(agent.box.outbox) == 0


def test_the_second_round_changes_nothing(open_box, fleet):
    open_box().run_once()
    n_reports = len(fleet.received)

    agent = open_box("crash")

    assert agent.run_once() == "active"
    assert len(fleet.received) == n_reports


def test_new_orders_that_the_active_model_meets_are_answered_without_work(open_box, fleet):
    open_box().run_once()
    fleet.generation = 7

    assert open_box("crash").run_once() == "active"

    outcome = fleet.outcomes()[-1]
    assert (outcome.status, outcome.generation) == ("activated", 7)
    assert outcome.balanced_accuracy_after == 0.95


def test_a_box_registers_once(open_box, fleet):
    open_box().run_once()
    open_box().run_once()

    assert fleet.registered == 1


def test_a_breach_steps_down_to_the_next_plan(open_box, fleet):
    fleet.points = [point("xcep-big"), point("xcep-small")]

    assert open_box("good+over_cap").run_once() == "idle"

    assert [o.status for o in fleet.outcomes()][:2] == ["over_cap", "over_cap"]
    assert all(o.peak_rss_bytes == 176_000_001 for o in fleet.outcomes()[:2])


def test_a_hog_is_killed_and_the_agent_lives_on(open_box, fleet):
    agent = open_box(
        "hog", profile=lambda: make_profile(operator_cap_bytes=140_000_000, runtime_floor_bytes=1)
    )

    assert agent.run_once() == "idle"

    outcome = fleet.outcomes()[0]
    assert outcome.status == "over_cap"
    assert outcome.peak_rss_bytes > 60_000_000
    assert outcome.peak_rss_bytes < 90_000_000


def test_a_result_under_the_floor_leaves_the_old_model(open_box, fleet):
    open_box().run_once()
    first = fleet.outcomes()[0].model_sha256
    fleet.points = [point("xcep-other")]
    agent = open_box("poor")

    assert agent.run_once() == "idle"

    assert fleet.outcomes()[1].status == "below_floor"
    assert agent.box.shelf.active().sha256 == first


def test_a_worse_model_never_replaces_a_better_one(open_box, fleet):
    open_box("better").run_once()
    fleet.points = [point("xcep-other")]
    agent = open_box("good")

    assert agent.run_once() == "idle"

    assert fleet.outcomes()[1].status == "refused"
    assert "worse than the active" in fleet.outcomes()[1].reason
    assert agent.box.shelf.active().balanced_accuracy == 0.97


def test_a_plan_over_the_cap_is_never_started(open_box, fleet):
    """Not even one image at a time would fit."""
    fleet.points = [point(workload_bytes=2_000_000_000)]
    agent = open_box("crash")

    assert agent.run_once() == "idle"
    assert fleet.outcomes()[0].status == "over_cap"
    assert fleet.outcomes()[0].peak_rss_bytes == 2_050_000_000


def test_a_plan_that_does_not_fit_just_now_is_put_off_not_refused(open_box, fleet):
    agent = open_box(profile=lambda: make_profile(ram_available_bytes=90_000_000))
    with pytest.raises(Exception, match="tried again"):
        agent.run_once()

    assert [o.status for o in fleet.outcomes()] == ["deferred"]
    assert open_box().run_once() == "active"


def test_a_crashing_trainer_is_given_three_tries(open_box, fleet):
    agent = open_box("crash")

    assert agent.run_once() == "idle"

    assert fleet.outcomes()[0].status == "refused"
    assert "failed 3 times" in fleet.outcomes()[0].reason
    assert "signal 6" in fleet.outcomes()[0].reason


def test_a_file_that_the_server_lacks_ends_in_an_outcome(open_box, fleet, clock):
    fleet.files = {}

    assert open_box().run_once() == "idle"

    assert fleet.outcomes()[0].status == "refused"
    assert "failed 3 times" in fleet.outcomes()[0].reason
    assert "HTTP 404" in fleet.outcomes()[0].reason
    assert len(clock.waits) == 2


def test_a_damaged_file_ends_in_an_outcome(open_box, fleet):
    fleet.files = {kind: b"?" * len(content) for kind, content in FILES.items()}

    assert open_box().run_once() == "idle"

    assert fleet.outcomes()[0].status == "refused"
    assert "forged or damaged" in fleet.outcomes()[0].reason


def test_a_file_that_breaks_off_is_no_failed_attempt(open_box, fleet):
    fleet.truncate_files_to = 10
    agent = open_box()

    for _ in range(5):
        with pytest.raises(TruncatedError):
            agent.cycle()

    assert agent.state.attempts == 0
    fleet.truncate_files_to = None
    assert agent.run_once() == "active"


@pytest.mark.parametrize(("mode", "status"), [("diverged", "refused"), ("nan", "refused")])
def test_bad_numbers_end_the_task(open_box, fleet, mode, status):
    assert open_box(mode).run_once() == "idle"

    assert fleet.outcomes()[0].status == status


def test_a_model_that_does_not_run_here_is_not_activated(open_box, fleet):
    agent = open_box(try_model=lambda *_: "it hung")

    assert agent.run_once() == "idle"

    assert agent.box.shelf.active_id() is None
    assert "it hung" in fleet.outcomes()[0].reason


@pytest.mark.parametrize(
    ("mode", "error"), [("bad_input", DataUnusableError), ("disk_full", DiskFullError)]
)
def test_trouble_of_the_box_keeps_the_task_for_later(open_box, mode, error):
    with pytest.raises(error):
        open_box(mode).run_once()

    assert open_box().run_once() == "active"


def test_an_empty_class_is_named(open_box):
    agent = open_box(profile=lambda: make_profile(n_defect=0))

    with pytest.raises(DataUnusableError, match="no images of defect"):
        agent.run_once()


def test_told_cloud_it_settles_without_training(open_box, fleet):
    fleet.action = "cloud"

    assert open_box("crash").run_once() == "cloud"
    assert fleet.outcomes()[0].status == "cloud"


def test_a_bad_enrolment_token_is_said_so(open_box, settings):
    bad = settings.model_copy(update={"enrol_token": None})
    agent = open_box()
    object.__setattr__(agent.box, "settings", bad)

    with pytest.raises(NotLetInError, match="--enrol-token"):
        agent.run_once()


def test_its_token_is_never_shown_to_another_server(open_box, fleet, settings):
    open_box().run_once()
    agent = open_box()
    elsewhere = settings.model_copy(update={"server": "http://evil.test"})
    object.__setattr__(agent.box, "settings", elsewhere)
    fleet.requests.clear()

    with pytest.raises(StateError, match="belongs to"):
        agent.run_once()
    assert fleet.requests == []


def test_a_revoked_box_keeps_its_model(open_box, fleet):
    open_box().run_once()
    fleet.accept_token = False
    agent = open_box()

    with pytest.raises(NotLetInError):
        agent.run_once()
    assert agent.box.shelf.active() is not None


def test_an_absent_server_is_called_a_few_times_with_growing_waits(open_box, fleet, clock):
    fleet.away = True
    with pytest.raises(ServerAwayError, match="--server"):
        open_box().run_once()

    assert len(clock.waits) == 3


def test_work_goes_on_while_the_server_is_away(open_box, fleet):
    with pytest.raises(DataUnusableError):
        open_box("bad_input").cycle()
    fleet.away = True
    agent = open_box()

    with pytest.raises(ServerAwayError):
        agent.cycle()
    assert agent.state.step == "active"
    assert len(agent.box.outbox) == 1

    fleet.away = False
    agent.cycle()
    assert fleet.outcomes()[-1].status == "activated"
    assert len(agent.box.outbox) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_busy_is_no_failure_however_often(open_box, fleet, clock, status):
    agent = open_box()
    busy = [httpx2.Response(status, headers={"Retry-After": "7"}) for _ in range(6)]
    real = fleet.handle_request

    def sometimes_busy(request: httpx2.Request) -> httpx2.Response:
        return busy.pop() if busy else real(request)

    fleet.handle_request = sometimes_busy

    assert agent.run_once() == "active"
    assert len(clock.waits) == 6
    assert all(7 <= wait <= 7 * (1 + 2**n) for n, wait in enumerate(clock.waits, start=1))
    assert agent.state.attempts == 0
    assert [o.status for o in fleet.outcomes()] == ["activated"]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Please log in</html>", {}),
        (200, b"{", {}),
        (200, b'{"device_id": 5}', {}),
        (200, b"x" * 5_000_000, {}),
        (302, b"", {"Location": "/login"}),
        (200, b"", {"Content-Encoding": "gzip"}),
    ],
)
def test_nonsense_is_named(open_box, fleet, answer):
    status, body, headers = answer
    fleet.broken = httpx2.Response(status, headers=headers, stream=Chunks([body]))

    with pytest.raises(NonsenseError):
        open_box().run_once()


def test_a_lost_answer_has_no_second_effect(open_box, fleet):
    agent = open_box()
    agent.cycle()
    fleet.generation += 1
    fleet.points = [point("xcep-other")]
    fleet.lose_next_answer = True

    assert agent.run_once() == "active"

    keys = [r.key for r in fleet.received]
    assert len(keys) == len(set(keys)) + 1
    assert sum(o.status == "activated" for o in fleet.outcomes()) == 2


def test_forever_ends_on_the_signal(open_box, fleet):
    agent = open_box()
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            agent.box.world.stop.set()

    object.__setattr__(agent.box.world, "sleep", sleep)
    agent.run_forever()

    assert len(rounds) == 3
    assert all(30 <= wait <= 33 for wait in rounds)
    assert fleet.registered == 1


def test_newer_orders_end_the_training_under_way(open_box, fleet, clock):
    agent = open_box("gentle")
    asked = 0

    def step() -> float:
        nonlocal asked
        asked += 1
        if asked > 3:
            fleet.action = "idle"
            clock.seconds += 100
        return clock.seconds

    object.__setattr__(agent.box.world, "monotonic", step)

    assert agent.run_once() == "idle"


def test_a_corrupt_state_says_what_to_do(open_box, settings):
    open_box().run_once()
    (settings.state / "state.json").write_text("{")

    with pytest.raises(StateError, match="move it away"):
        open_box()


def test_a_lost_state_asks_anew_and_keeps_the_model(open_box, settings, fleet):
    open_box().run_once()
    (settings.state / "state.json").unlink()

    assert open_box("crash").run_once() == "active"
    assert fleet.registered == 1


def test_two_agents_cannot_share_a_state(open_box, settings):
    open_box()
    with pytest.raises(StateError, match="another agent"), open_agent(settings):
        pass


def test_nothing_unneeded_is_kept(open_box, settings):
    agent = open_box()
    (settings.state / "cache" / ("0" * 64)).write_bytes(b"old")

    agent.run_once()

    assert not (settings.state / "cache" / ("0" * 64)).exists()
    assert len(list((settings.state / "cache").iterdir())) == 3


def test_a_problem_of_the_server_is_shown_in_its_words(open_box, fleet):
    fleet.broken = problem(409, "this serial belongs to another box")

    with pytest.raises(Exception, match="this serial belongs to another box"):
        open_box().run_once()
