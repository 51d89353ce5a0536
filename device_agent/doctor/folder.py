"""Checks of the state folder: who may write it, and whether what it holds is whole."""

import os
import shlex
import shutil
import sqlite3
import tempfile
from pathlib import Path

from device_agent.doctor.finding import Finding, Patient, fail, ok, skip, warn
from device_agent.doctor.program import others_may_read
from device_agent.errors import AgentError
from device_agent.loop.state import StateStore
from device_agent.sizes import format_size

_LOW_BYTES = 200_000_000
_FULL_BYTES = 20_000_000
_STALE_PART_S = 86_400
_BACKLOG_SHARE = 0.5


def quote(path: Path) -> str:
    return shlex.quote(str(path))


def check_folder(patient: Patient) -> Finding:
    """Check that the state folder is there and may be written."""
    root = patient.paths.root
    if not root.exists():
        return _unborn(patient, root)
    if not root.is_dir():
        return fail("state folder", f"{root} is no folder", f"mv {quote(root)} {quote(root)}.old")
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        owner = root.stat().st_uid
        mend = f"sudo chown -R {os.geteuid()} {quote(root)}"
        return fail("state folder", f"{root} belongs to user {owner} and cannot be written", mend)
    running = holder_of(root / "agent.lock", patient.machine.root)
    return ok("state folder", f"{root}; {f'agent {running} runs' if running else 'no agent runs'}")


def _unborn(patient: Patient, root: Path) -> Finding:
    existing = next(path for path in root.parents if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = f"sudo install -d -o {os.geteuid()} {quote(root)}"
        return fail("state folder", f"{root} is not there and cannot be made", mend)
    _ = patient
    return ok("state folder", f"{root} is not there yet; the agent makes it")


def holder_of(lock: Path, root: Path = Path("/")) -> int | None:
    """Return the process that holds a lock, by the kernel's own list; taking it would disturb."""
    try:
        status = lock.stat()
        lines = (root / "proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if "FLOCK" in words and place in words:
            return int(words[words.index(place) - 1])
    return None


def check_disk(patient: Patient) -> Finding:
    """Check that there is room on the disk."""
    root = patient.paths.root
    existing = root if root.exists() else next(path for path in root.parents if path.exists())
    free = shutil.disk_usage(existing).free
    mend = f"device_agent run --state {quote(Path('/a/larger/disk'))}"
    if free < _FULL_BYTES:
        return fail("disk", f"{format_size(free)} free where {root} lies", mend)
    if free < _LOW_BYTES:
        return warn("disk", f"only {format_size(free)} free where {root} lies", mend)
    return ok("disk", f"{format_size(free)} free")


def check_identity_file(patient: Patient) -> Finding:
    """Check that the box's identity is whole and readable to the agent's user alone."""
    path = patient.paths.identity
    if not path.exists():
        return skip("identity", "the box is not enrolled yet")
    try:
        StateStore(patient.paths).identity()
    except (AgentError, OSError):
        mend = f"mv {quote(path)} {quote(path)}.corrupt"
        found = f"{path} is damaged; enrol again once it is moved away"
        return fail("identity", found, mend)
    if others_may_read(path):
        found = f"{path} holds the box's token and others may read it"
        return fail("identity", found, f"chmod 600 {quote(path)}")
    return ok("identity", "whole, and the owner's alone")


def check_state_file(patient: Patient) -> Finding:
    """Check that what the box remembers can be read."""
    path = patient.paths.state
    try:
        state = StateStore(patient.paths).load()
    except (AgentError, OSError):
        found = f"{path} is damaged; models and reports are kept when it is moved away"
        return fail("state", found, f"mv {quote(path)} {quote(path)}.corrupt")
    outcome = f"; last outcome {state.outcome.status}" if state.outcome else ""
    return ok("state", f"{state.step}{outcome}")


def check_outbox(patient: Patient) -> Finding:
    """Check that the queue of reports is whole and does not pile up; a copy is looked at."""
    path = patient.paths.outbox
    if not path.exists():
        return skip("outbox", "no report was ever kept")
    try:
        reports, size_bytes = count_reports(path)
    except (sqlite3.Error, OSError) as exc:
        mend = f"mv {quote(path)} {quote(path)}.corrupt"
        return fail("outbox", f"{path} cannot be read: {exc}", mend)
    said = f"{reports} reports wait ({format_size(size_bytes)})"
    if size_bytes > _BACKLOG_SHARE * patient.settings.outbox_bytes:
        return warn("outbox", f"{said}; the oldest will be dropped", "device_agent once")
    return ok("outbox", said)


def count_reports(path: Path) -> tuple[int, int]:
    """Return how many reports wait and their bytes, from a copy: reading would make files."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copyfile(source, Path(folder) / source.name)
        database = sqlite3.connect(Path(folder) / path.name)
        try:
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            sums = "SELECT count(*), coalesce(sum(length(body)), 0) FROM reports"
            reports, size_bytes = database.execute(sums).fetchone()
        finally:
            database.close()
    return int(reports), int(size_bytes)


def check_leftovers(patient: Patient) -> Finding:
    """Check that no training and no download was left half done and forgotten."""
    paths = patient.paths
    if holder_of(paths.root / "agent.lock", patient.machine.root) is not None:
        return skip("leftovers", "an agent runs; it clears up by itself")
    now_s = patient.now().timestamp()
    parts = [
        part
        for part in _entries(paths.cache)
        if part.suffix == ".part" and now_s - part.stat().st_mtime > _STALE_PART_S
    ]
    left = [job for job in _entries(paths.jobs) if job.name != _task(patient)] + parts
    if left:
        size_bytes = sum(_size(path) for path in left)
        said = f"{len(left)} left over ({format_size(size_bytes)}), such as {left[0]}"
        return warn("leftovers", said, "device_agent once")
    return ok("leftovers", "none")


def _task(patient: Patient) -> str | None:
    try:
        return StateStore(patient.paths).load().task_id
    except (AgentError, OSError):
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
