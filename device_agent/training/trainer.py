"""Runs the one fine-tune program as a capped child and says how it ended.

The child leads its own session, dies with the agent, and lives under every cap that this box
offers. This module decides nothing about the result: ``device_agent.loop.outcome`` does.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from contract.finetune import RESULT_FILE, FinetuneJob, FinetuneProgress, FinetuneResult
from device_agent.disk.files import named_disk_errors, write_atomic
from device_agent.training.caps import WATCHDOG
from device_agent.training.cgroup import sweep_cap_groups
from device_agent.training.children import quiet_environment
from device_agent.training.confine import GROUP_PREFIX, UNCONFINED, Confinement, confine
from device_agent.training.family import kill_group
from device_agent.training.lines import read_lines
from device_agent.training.scope import FindScopes, find_scopes
from device_agent.training.watchdog import Watchdog

JOB_FILE = "JOB.json"
LOG_FILE = "trainer.log"
COMMAND = (sys.executable, "-m", "models", "finetune")
_MOST_RESULT_BYTES = 1_000_000
_TAIL_BYTES = 2_000
_GRACE_S = 5.0
_PROGRESS: TypeAdapter[FinetuneProgress] = TypeAdapter(FinetuneProgress)
_RESULT: TypeAdapter[FinetuneResult] = TypeAdapter(FinetuneResult)

_NOT_STARTED = 125

Ending = Literal["exited", "over_cap", "starved", "hung", "deadline", "stopped"]
OnProgress = Callable[[FinetuneProgress], None]


def _ignore(_: FinetuneProgress) -> None:
    return


def _go_on() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class TrainerLimits:
    """Seconds without a word, seconds in all."""

    hang_s: float = 300.0
    deadline_s: float = 86_400.0


@dataclass(frozen=True, kw_only=True)
class TrainerRun:
    """How a child ended. ``result`` is None when it left none, or one that cannot be believed.

    ``starved``: under its cap, but the box had no memory or no process left for it.
    ``peak_rss_bytes`` is the larger of what the watchdog saw and what the child says.
    """

    ending: Ending
    returncode: int
    result: FinetuneResult | None
    peak_rss_bytes: int
    peak_anonymous_bytes: int
    cap_kinds: tuple[str, ...]
    log_tail: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How to start a trainer. ``command`` gets the job file's path appended; tests hand in theirs.

    ``stop`` is asked several times a second: True ends the child gently (SIGTERM, then SIGKILL).
    ``scopes`` is asked only where no control group is writable.
    """

    command: tuple[str, ...] = COMMAND
    limits: TrainerLimits = field(default_factory=TrainerLimits)
    root: Path = Path("/")
    scopes: FindScopes = find_scopes
    monotonic: Callable[[], float] = time.monotonic

    def run(
        self,
        job: FinetuneJob,
        on_progress: OnProgress = _ignore,
        stop: Callable[[], bool] = _go_on,
    ) -> TrainerRun:
        """Run ``job`` to its end; raises DiskFullError when not even the job can be written."""
        output = Path(job.output_dir)
        job_path = output / JOB_FILE
        forget_failure(output, job.job_id)
        write_atomic(job_path, json.dumps(dataclasses.asdict(job), indent=1).encode())
        sweep_cap_groups(GROUP_PREFIX, self.root)
        confinement = UNCONFINED
        if job.ram_cap_bytes is not None:
            confinement = confine(job.ram_cap_bytes, self.root, self.scopes)
        try:
            run = self._supervise(job, job_path, confinement, on_progress, stop)
        finally:
            confinement.remove()
        if _scope_failed(confinement, run):
            return self._supervise(job, job_path, UNCONFINED, on_progress, stop)
        return run

    def _supervise(
        self,
        job: FinetuneJob,
        job_path: Path,
        confinement: Confinement,
        on_progress: OnProgress,
        stop: Callable[[], bool],
    ) -> TrainerRun:
        log = job_path.with_name(LOG_FILE)
        start = self.monotonic()
        with named_disk_errors(log), log.open("wb") as stderr:
            try:
                child = self._start(job_path, confinement, stderr.fileno())
            except OSError as exc:
                return _not_started(exc)
        watchdog = Watchdog(child.pid, job.ram_cap_bytes, end_group=confinement.kill)
        try:
            watched = watchdog.start()
            ending = self._follow(child, on_progress, stop) if watched else "starved"
        finally:
            kill_group(child.pid, signal.SIGKILL)
            child.wait()
            watchdog.stop()
            if child.stdout is not None:
                child.stdout.close()
        ending = _why_it_ended(ending, child.returncode, watchdog, confinement, job.ram_cap_bytes)
        seconds = self.monotonic() - start
        return _told(job, ending, child.returncode, watchdog, confinement, seconds)

    def _start(
        self, job_path: Path, confinement: Confinement, stderr: int
    ) -> "subprocess.Popen[bytes]":
        parent = str(os.getpid())
        leash = (sys.executable, "-m", "device_agent.training.leash", parent, confinement.procs)
        return subprocess.Popen(  # noqa: S603 - our own program, or a test's
            [*leash, *confinement.prefix, *self.command, str(job_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=quiet_environment(),
            start_new_session=True,
        )

    def _follow(
        self, child: "subprocess.Popen[bytes]", on_progress: OnProgress, stop: Callable[[], bool]
    ) -> Ending:
        """Read progress until the child ends or must be ended."""
        start = last_word = self.monotonic()
        for line in self._lines(child):
            now = self.monotonic()
            if line is not None:
                last_word = now
                progress = parse_progress(line)
                if progress is not None:
                    on_progress(progress)
            ending = self._why_end(stop, now - start, now - last_word)
            if ending is not None:
                end_gently(child)
                return ending
        return "exited"

    def _lines(self, child: "subprocess.Popen[bytes]") -> Iterator[bytes | None]:
        if child.stdout is None:
            return
        with child.stdout as stream:
            yield from read_lines(stream.fileno(), lambda: child.poll() is None)

    def _why_end(self, stop: Callable[[], bool], spent_s: float, silent_s: float) -> Ending | None:
        if stop():
            return "stopped"
        if spent_s > self.limits.deadline_s:
            return "deadline"
        return "hung" if silent_s > self.limits.hang_s else None


def _why_it_ended(
    ending: Ending,
    returncode: int,
    watchdog: Watchdog,
    confinement: Confinement,
    cap_bytes: int | None,
) -> Ending:
    """Return the cause behind an end: the cap, or a kill that was not ours."""
    if watchdog.breached or (
        cap_bytes is not None and confinement.ended_it(returncode, watchdog.peak_bytes, cap_bytes)
    ):
        return "over_cap"
    killed = ending == "exited" and returncode == -signal.SIGKILL
    return "starved" if killed else ending


def _not_started(exc: OSError) -> TrainerRun:
    """Return a run that never began: the kernel gave no process."""
    return TrainerRun(
        ending="starved",
        returncode=_NOT_STARTED,
        result=None,
        peak_rss_bytes=0,
        peak_anonymous_bytes=0,
        cap_kinds=(),
        log_tail=f"no child could be started: {exc.strerror}",
        seconds=0.0,
    )


def _scope_failed(confinement: Confinement, run: TrainerRun) -> bool:
    """Whether systemd-run said that it made no scope, so that the command never began."""
    refused = run.returncode == 1 and run.result is None and run.log_tail.startswith("Failed to ")
    return bool(confinement.prefix) and refused


def _told(
    job: FinetuneJob,
    ending: Ending,
    returncode: int,
    watchdog: Watchdog,
    confinement: Confinement,
    seconds: float,
) -> TrainerRun:
    folder = Path(job.output_dir)
    result = read_result(folder, job.job_id)
    said = (result.peak_rss_bytes, result.peak_anonymous_bytes) if result else (0, 0)
    return TrainerRun(
        ending=ending,
        returncode=returncode,
        result=result,
        peak_rss_bytes=max(watchdog.peak_bytes, said[0]),
        peak_anonymous_bytes=max(watchdog.anonymous_bytes, said[1]),
        cap_kinds=kinds_in_force(confinement.kind, result, job.ram_cap_bytes),
        log_tail=_tail(folder / LOG_FILE),
        seconds=seconds,
    )


def end_gently(child: "subprocess.Popen[bytes]") -> None:
    """SIGTERM so that it can checkpoint, then SIGKILL."""
    kill_group(child.pid, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        kill_group(child.pid, signal.SIGKILL)
        child.wait()


def parse_progress(line: bytes) -> FinetuneProgress | None:
    """Return the progress that a line holds; None for anything else (a library's print, say)."""
    try:
        return _PROGRESS.validate_json(line)
    except ValidationError:
        return None


def read_result(folder: Path, job_id: str) -> FinetuneResult | None:
    """Return the child's result; None when absent, oversized, unreadable or another job's."""
    path = folder / RESULT_FILE
    try:
        if path.stat().st_size > _MOST_RESULT_BYTES:
            return None
        result = _RESULT.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.job_id == job_id else None


def forget_failure(folder: Path, job_id: str) -> None:
    """Remove a result that is not a finished one of this job: the next one must be new."""
    result = read_result(folder, job_id)
    if result is None or result.status != "done":
        (folder / RESULT_FILE).unlink(missing_ok=True)


def kinds_in_force(
    outer: str | None, result: FinetuneResult | None, cap_bytes: int | None
) -> tuple[str, ...]:
    """Return every kind of cap that held the child."""
    if cap_bytes is None:
        return ()
    kinds = [] if outer is None else [outer]
    said = [] if result is None else [k[:120] for k in result.cap_kinds[:4] if k.isprintable()]
    return tuple(dict.fromkeys((*kinds, *said, WATCHDOG)))


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(c if c.isprintable() else " " for c in text).strip()
