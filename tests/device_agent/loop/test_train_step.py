"""The step that trains, and how it goes down the box's own rungs before the server hears of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.report import EventBody
from device_agent.errors import AgentError, DiskFullError
from device_agent.loop.steps import MOST_STARTS
from device_agent.training.trainer import Trainer
from tests.device_agent.conftest import make_profile
from tests.device_agent.conftest import trainer as fake_trainer
from tests.device_agent.fleet import point

SIZED_TRAINER = Path(__file__).parents[1] / "sized_trainer.py"
CAP = 70_000_000


class Switched(Trainer):
    """Hands every run to another trainer, which a test may change."""

    def __init__(self, trainer: Trainer) -> None:
        self.to(trainer)

    def to(self, trainer: Trainer) -> None:
        object.__setattr__(self, "inner", trainer)

    def run(self, *given, **named):
        return self.inner.run(*given, **named)


class Killed(BaseException):
    """Not an Exception: nothing in the agent may catch it."""


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "starts.log"


@pytest.fixture
def sized(log):
    def make(sizes) -> Trainer:
        command = (sys.executable, "-S", str(SIZED_TRAINER), str(log), json.dumps({"*": sizes}))
        return Trainer(command=command)

    return make


def small_box(**changes):
    return make_profile(operator_cap_bytes=80_000_000 + CAP, runtime_floor_bytes=1, **changes)


def sizes(log: Path) -> list[tuple[int, str]]:
    return [(int(words[-2]), words[-1]) for words in map(str.split, log.read_text().splitlines())]


def events(fleet) -> list[str]:
    ordered = sorted(fleet.reports.values(), key=lambda report: report.sequence)
    return [
        r.body.fields["text"].split(":")[0]
        for r in ordered
        if isinstance(r.body, EventBody) and r.body.name == "smaller_micro_batch"
    ]


def test_a_plan_that_fits_trains_as_planned(open_box, fleet, sized, log):
    assert open_box(trainer=sized(3), profile=small_box).run_once() == "active"

    assert sizes(log) == [(8, "dry"), (8, "full")]
    assert fleet.outcomes()[-1].micro_batch is None


def test_a_dry_run_over_the_cap_halves_the_micro_batch_until_it_fits(open_box, fleet, sized, log):
    agent = open_box(trainer=sized(24), profile=small_box)

    assert agent.run_once() == "active"

    assert sizes(log) == [(8, "dry"), (4, "dry"), (2, "dry"), (2, "full")]
    assert [o.status for o in fleet.outcomes()] == ["activated"]
    assert fleet.outcomes()[-1].micro_batch == 2
    assert events(fleet) == ["from 8 to 4 images at a time", "from 4 to 2 images at a time"]


def test_a_training_over_the_cap_goes_a_rung_down_and_proves_it_again(open_box, fleet, sized, log):
    agent = open_box(trainer=sized([3, 12]), profile=small_box)

    assert agent.run_once() == "active"

    assert sizes(log) == [(8, "dry"), (8, "full"), (4, "dry"), (4, "full")]
    assert fleet.outcomes()[-1].micro_batch == 4


def test_only_after_one_image_at_a_time_does_the_server_hear(open_box, fleet, sized, log):
    agent = open_box(trainer=sized(90), profile=small_box)

    assert agent.run_once() == "idle"

    assert sizes(log) == [(8, "dry"), (4, "dry"), (2, "dry"), (1, "dry")]
    outcome = fleet.outcomes()[0]
    assert (outcome.status, outcome.micro_batch) == ("over_cap", 1)
    assert outcome.peak_rss_bytes > outcome.cap_bytes == CAP


def test_a_prediction_over_the_cap_skips_the_rungs_that_cannot_fit(open_box, fleet, sized, log):
    fleet.points = [point(workload_bytes=4 * CAP)]
    agent = open_box(trainer=sized(3), profile=small_box)

    assert agent.run_once() == "active"

    assert sizes(log) == [(1, "dry"), (1, "full")]
    assert fleet.outcomes()[-1].micro_batch == 1


def test_a_plan_that_fits_with_no_micro_batch_is_never_started(open_box, fleet, sized, log):
    fleet.points = [point(workload_bytes=9 * CAP)]
    agent = open_box(trainer=sized(1), profile=small_box)

    assert agent.run_once() == "idle"

    assert not log.exists()
    outcome = fleet.outcomes()[0]
    assert (outcome.status, outcome.micro_batch) == ("over_cap", None)
    assert outcome.peak_rss_bytes == 9 * CAP + 1


@pytest.mark.parametrize("nth", [1, 2])
def test_a_restart_goes_on_with_the_rung_in_use(open_box, sized, log, nth):
    """Killed after the nth step down was saved, a new agent does not begin at the top again."""
    agent = open_box(trainer=sized(24), profile=small_box)
    before: list[int | None] = []

    def kill(mark: str) -> None:
        if agent.state.micro_batch not in {None, *before} and mark.startswith("saved"):
            before.append(agent.state.micro_batch)
            if len(before) == nth:
                raise Killed

    object.__setattr__(agent.box.world, "mark", kill)
    with pytest.raises(Killed):
        agent.run_once()
    done = len(sizes(log))

    again = open_box(trainer=sized(24), profile=small_box)
    assert again.state.micro_batch == before[-1]
    assert again.run_once() == "active"
    assert sizes(log)[done][0] == before[-1]
    assert sizes(log)[-1] == (2, "full")


def test_another_plan_begins_at_the_top_of_its_own_ladder(open_box, fleet, sized, log):
    open_box(trainer=sized(24), profile=small_box).run_once()
    fleet.points = [point("xcep-other")]

    assert open_box(trainer=sized(3), profile=small_box).run_once() == "active"
    assert sizes(log)[-2:] == [(8, "dry"), (8, "full")]


def test_what_another_rung_left_is_not_taken_for_this_one_s(open_box, sized):
    """Every rung is a job of its own name, so neither result nor checkpoint is mistaken."""
    agent = open_box(trainer=sized([3, 12]), profile=small_box)
    agent.run_once()

    job = json.loads(next(agent.box.paths.jobs.glob("*/out/JOB.json")).read_text())
    dry = json.loads(next(agent.box.paths.jobs.glob("*/dry/JOB.json")).read_text())
    assert job["job_id"].endswith("-micro-batch-4")
    assert dry["job_id"] == job["job_id"] + "-dry"
    assert (job["batch"], job["micro_batch"]) == (8, 4)


def test_waiting_for_others_to_let_go_of_memory_never_uses_up_the_task(open_box, fleet, sized, log):
    crowded = open_box(profile=lambda: small_box(ram_available_bytes=40_000_000), trainer=sized(3))
    for _ in range(25):
        with pytest.raises(AgentError, match="tried again"):
            crowded.cycle()

    assert crowded.state.starts == 0
    assert not log.exists()
    assert {o.status for o in fleet.outcomes()} == {"deferred"}
    assert open_box(trainer=sized(3), profile=small_box).run_once() == "active"


def test_a_trainer_that_the_kernel_ends_under_its_cap_is_tried_again_later(open_box, fleet):
    agent = open_box("good+killed")

    for starts_so_far in (1, 2):
        with pytest.raises(AgentError, match="no memory left"):
            agent.cycle()
        assert agent.state.starts == starts_so_far

    assert agent.state.attempts == 0
    assert [o.status for o in fleet.outcomes()] == ["deferred"]
    assert open_box().run_once() == "active"


def test_a_box_that_always_starves_its_trainer_gives_the_plan_up_in_the_end(open_box, fleet):
    agent = open_box("good+killed")
    with pytest.raises(AgentError, match="no memory left"):
        agent.cycle()
    agent.state = agent.state.model_copy(update={"starts": MOST_STARTS})
    agent.cycle()

    assert fleet.outcomes()[-1].status == "refused"
    assert "never ended" in fleet.outcomes()[-1].reason


def test_a_hung_trainer_ends_in_a_reason_and_what_was_active_stays(open_box, fleet):
    open_box().run_once()
    first = fleet.outcomes()[0].model_sha256
    fleet.points = [point("xcep-other")]
    agent = open_box(trainer=fake_trainer("gentle", hang_s=0.2))

    assert agent.run_once() == "idle"

    assert "hung" in fleet.outcomes()[-2].reason
    assert agent.box.shelf.active().sha256 == first


@pytest.fixture
def tiny_disk(settings):
    """The state folder on a file system of 24 MB; skips where it cannot be mounted."""
    settings.state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(settings.state)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield settings.state
    subprocess.run(["umount", "-l", str(settings.state)], check=True)  # noqa: S607


@pytest.mark.parametrize("mode", ["fill_disk", "good+fill_disk"])
def test_a_disk_that_fills_up_during_training_costs_nothing_but_time(tiny_disk, open_box, mode):
    """The model before it serves on; once there is room, the same agent goes on by itself."""
    agent = open_box(trainer=Switched(fake_trainer(mode)))
    with pytest.raises(DiskFullError, match="make room"):
        agent.run_once()
    with pytest.raises(DiskFullError):
        agent.cycle()

    for ballast in tiny_disk.glob("jobs/*/*/ballast"):
        ballast.unlink()
    agent.box.trainer.to(fake_trainer("good"))

    assert agent.run_once() == "active"
    assert agent.state.attempts == 0
