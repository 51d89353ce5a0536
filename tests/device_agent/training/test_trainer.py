"""The capped child: how it is started, watched, stopped and believed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.finetune import FinetuneJob, FinetuneProgress
from device_agent.training.cgroup import make_cap_group
from device_agent.training.trainer import (
    Trainer,
    TrainerLimits,
    forget_failure,
    parse_progress,
    read_result,
)
from tests.device_agent.conftest import job_in, trainer


def no_scopes() -> None:
    return None


@pytest.fixture
def job(tmp_path: Path) -> FinetuneJob:
    return job_in(tmp_path)


def test_a_good_run_tells_progress_and_leaves_a_result(job):
    told: list[FinetuneProgress] = []
    run = trainer().run(job, told.append)

    assert (run.ending, run.returncode) == ("exited", 0)
    assert run.result.balanced_accuracy_after == 0.95
    assert [p.done for p in told] == [1, 2]
    assert run.cap_kinds[-1] == "rss_watchdog"


def test_a_finished_training_is_not_repeated(job):
    trainer().run(job)
    run = trainer().run(job)

    assert run.result.status == "done"
    assert Path(job.output_dir, "started").read_text() == "x"


def test_a_hog_dies_at_its_cap(job):
    run = trainer("hog").run(job)

    assert run.ending == "over_cap"
    assert run.returncode == -9
    assert 80_000_000 < run.peak_rss_bytes < 100_000_000


def test_the_watchdog_alone_holds_the_cap(job, tmp_path):
    without_groups = Trainer(command=trainer("hog").command, root=tmp_path, scopes=no_scopes)
    run = without_groups.run(job)

    assert run.ending == "over_cap"
    assert run.cap_kinds == ("rss_watchdog",)
    assert run.peak_rss_bytes < 120_000_000


def test_without_a_cap_nothing_is_in_force(job):
    free = FinetuneJob(**{**job.__dict__, "ram_cap_bytes": None})

    assert trainer().run(free).cap_kinds == ()


def test_a_silent_trainer_is_ended_though_it_ignores_sigterm(job, monkeypatch):
    monkeypatch.setattr("device_agent.training.trainer._GRACE_S", 0.1)
    run = trainer("hang", hang_s=0.3).run(job)

    assert run.ending == "hung"
    assert run.returncode == -9


def test_a_stop_lets_the_trainer_checkpoint(job):
    started: list[FinetuneProgress] = []
    run = trainer("gentle").run(job, started.append, lambda: bool(started))

    assert run.ending == "stopped"
    assert Path(job.output_dir, "checkpoint.safetensors").read_bytes() == b"saved"


def test_a_deadline_ends_what_never_ends(job):
    limits = TrainerLimits(deadline_s=0.3)
    run = Trainer(command=trainer("gentle").command, limits=limits).run(job)

    assert run.ending == "deadline"


@pytest.mark.parametrize("mode", ["crash", "lie"])
def test_nothing_believable_is_no_result(job, mode):
    assert trainer(mode).run(job).result is None


def test_a_line_of_megabytes_does_no_harm(job):
    assert trainer("big_line").run(job).result.status == "done"


def test_a_command_that_is_not_there_is_an_exit_code(job):
    run = Trainer(command=("/no/such/program",)).run(job)

    assert run.returncode == 125
    assert "cannot start" in run.log_tail


def test_a_failed_result_is_forgotten_before_the_next_try(job):
    trainer("diverged").run(job)
    out = Path(job.output_dir)
    assert read_result(out, "job").status == "diverged"

    forget_failure(out, "job")
    assert read_result(out, "job") is None


def test_another_job_s_result_is_not_believed(job):
    trainer().run(job)

    assert read_result(Path(job.output_dir), "other") is None


@pytest.mark.parametrize("line", [b"", b"hello", b"{}", b"[1]", b'{"event":"fly"}', b"\xff"])
def test_what_is_no_progress_is_passed_over(line):
    assert parse_progress(line) is None


def test_the_child_dies_with_the_agent(job, tmp_path):
    """The agent is a process of its own here, killed with SIGKILL."""
    script = tmp_path / "agent.py"
    script.write_text(
        "import json, sys\n"
        "from contract.finetune import FinetuneJob\n"
        "from device_agent.training.trainer import Trainer\n"
        f"job = FinetuneJob(**{job.__dict__!r})\n"
        f"trainer = Trainer(command={trainer('gentle').command!r})\n"
        "trainer.run(job, lambda p: print('go', flush=True))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    agent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment)
    assert agent.stdout.readline() == b"go\n"
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    assert len(children) == 1
    agent.kill()
    agent.wait()
    agent.stdout.close()

    for _ in range(100):
        if not Path(f"/proc/{children[0]}/cmdline").exists():
            break
        if not Path(f"/proc/{children[0]}/cmdline").read_bytes():
            break
        time.sleep(0.02)
    else:
        pytest.fail("the trainer outlived its agent")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def gone(pid: int) -> bool:
    """A killed process needs a moment to go."""
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("mode", ["brood", "stray_brood"])
@pytest.mark.parametrize("outer", ["with a control group", "with the watchdog alone"])
def test_memory_that_grandchildren_take_counts_and_they_die_too(job, tmp_path, mode, outer):
    root = Path("/") if outer == "with a control group" else tmp_path / "no groups"
    run = Trainer(command=trainer(mode).command, root=root, scopes=no_scopes).run(job)

    assert run.ending == "over_cap"
    grandchild = int(Path(job.output_dir, "grandchild").read_text())
    assert gone(grandchild)


def test_the_watchdog_counts_the_whole_family(job, tmp_path):
    run = Trainer(command=trainer("brood").command, root=tmp_path, scopes=no_scopes).run(job)

    assert 90_000_000 < run.peak_rss_bytes < 130_000_000


def test_a_bomb_is_stopped_before_it_has_filled_its_gigabyte(job, tmp_path):
    run = Trainer(command=trainer("bomb").command, root=tmp_path, scopes=no_scopes).run(job)

    assert run.ending == "over_cap"
    assert run.peak_rss_bytes < 600_000_000


def test_a_kill_that_was_not_ours_is_told_from_a_breach(job):
    run = trainer("killed").run(job)

    assert (run.ending, run.returncode) == ("starved", -9)


def test_no_process_left_for_a_child_is_an_ending_not_a_crash(job, monkeypatch):
    def no_process(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("device_agent.training.trainer.subprocess.Popen", no_process)
    run = trainer().run(job)

    assert run.ending == "starved"
    assert "no child could be started" in run.log_tail


def test_no_thread_left_to_watch_with_ends_the_child(job, monkeypatch):
    def no_thread(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("device_agent.training.watchdog.threading.Thread.start", no_thread)
    run = trainer("hang").run(job)

    assert (run.ending, run.returncode) == ("starved", -9)


def test_a_crowded_box_s_own_limit_kills_the_trainer_and_is_no_breach(job):
    """An outer control group is full: the kernel ends the trainer though it kept its own cap."""
    outer = make_cap_group(60_000_000, f"paretofleet-{os.getpid()}-outer")
    if outer is None:
        pytest.skip("no control group is writable here")
    script = (
        "import os, sys; from pathlib import Path\n"
        "Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "from contract.finetune import FinetuneJob\n"
        "from device_agent.training.trainer import Trainer\n"
        f"job = FinetuneJob(**{job.__dict__ | {'ram_cap_bytes': 200_000_000}!r})\n"
        f"run = Trainer(command={trainer('hog').command!r}).run(job)\n"
        "print(run.ending, run.returncode)\n"
    )
    command = [sys.executable, "-c", script, str(outer.procs)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."}
    )
    outer.remove()

    assert done.stdout == "starved -9\n", done.stderr
