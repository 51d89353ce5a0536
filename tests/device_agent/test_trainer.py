"""The capped child: how it is started, watched, stopped and believed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.finetune import FinetuneJob, FinetuneProgress
from device_agent.trainer import (
    Trainer,
    TrainerLimits,
    forget_failure,
    parse_progress,
    read_result,
)
from device_agent.watchdog import Watchdog, read_memory
from tests.device_agent.conftest import trainer


@pytest.fixture
def job(tmp_path: Path) -> FinetuneJob:
    source = tmp_path / "inference.onnx"
    source.write_bytes(b"model")
    return FinetuneJob(
        job_id="job", variant="v", weights_path=str(source), inference_path=str(source),
        train_graph_path=str(source), output_dir=str(tmp_path / "out"), data_dir=str(tmp_path),
        classes=["ok", "defect"], trainable=[], frozen=[], input_px=32, in_channels=3, batch=8,
        micro_batch=8, epochs=1, optimiser="sgd", learning_rate=0.1, ram_cap_bytes=90_000_000,
    )  # fmt: skip


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
    without_groups = Trainer(command=trainer("hog").command, root=tmp_path)
    run = without_groups.run(job)

    assert run.ending == "over_cap"
    assert run.cap_kinds == ("rss_watchdog",)
    assert run.peak_rss_bytes < 120_000_000


def test_without_a_cap_nothing_is_in_force(job):
    free = FinetuneJob(**{**job.__dict__, "ram_cap_bytes": None})

    assert trainer().run(free).cap_kinds == ()


def test_a_silent_trainer_is_ended_though_it_ignores_sigterm(job, monkeypatch):
    monkeypatch.setattr("device_agent.trainer._GRACE_S", 0.1)
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
        "from device_agent.trainer import Trainer\n"
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


def test_the_watchdog_reads_the_high_water_mark(tmp_path):
    status = tmp_path / "7" / "status"
    status.parent.mkdir()
    status.write_text("Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t 100 kB\nRssAnon:\t 50 kB\n")
    watchdog = Watchdog(7, 150 * 1024, tmp_path)

    assert read_memory(status) == (204_800, 51_200)
    assert not watchdog.look()
    assert watchdog.breached


def test_a_process_that_is_gone_is_no_breach(tmp_path):
    watchdog = Watchdog(7, 1, tmp_path)

    assert not watchdog.look()
    assert not watchdog.breached
