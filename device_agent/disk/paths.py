"""Where things lie in the state directory, and the lock that keeps a second agent out.

::

    identity.json        device id and bearer token, mode 0600
    state.json           the state machine's memory
    probe.json           cached measurements of this box
    calibration.json     whether the images have drifted, and what the server was told of it
    quality.json         what was found in the images, and which images these were
    audit/               a random sample of judged images, for a person on the box
    outbox.sqlite3       reports not yet acknowledged
    heard                empty; its time is that of the last answer to a poll
    outbox.sequence      above every number that a report has had, whatever becomes of the queue
    cache/<sha256>       artifacts, content-addressed (``.part``: a download under way)
    jobs/<task>/         job, checkpoint, log and result of a training (and of its dry run)
    models/<id>/         immutable: model.onnx and manifest.json
    active, previous     symbolic links into models/: what serves, and the last known good
    factory              link to the model that the box was delivered with
    rolled_back          link to the model that a rollback set aside, so that it can be undone
    rollback.json        a rollback that was asked for and not yet entered into the state
"""

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from device_agent.disk.files import named_disk_errors
from device_agent.errors import StateError


@dataclass(frozen=True)
class StatePaths:
    """The layout; making one touches nothing."""

    root: Path

    @property
    def identity(self) -> Path:
        return self.root / "identity.json"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def probe(self) -> Path:
        return self.root / "probe.json"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox.sqlite3"

    @property
    def rollback(self) -> Path:
        return self.root / "rollback.json"

    @property
    def heard(self) -> Path:
        return self.root / "heard"

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    @property
    def quality(self) -> Path:
        return self.root / "quality.json"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    def job(self, task_id: str) -> Path:
        """Return the folder of one task; the agent made ``task_id`` itself."""
        return self.jobs / task_id

    def make(self) -> None:
        """Create the folders; raises StateError or DiskFullError."""
        with named_disk_errors(self.root):
            for folder in (self.root, self.cache, self.models, self.jobs):
                folder.mkdir(parents=True, exist_ok=True)


def note_heard(paths: StatePaths) -> None:
    """Keep the time of an answered poll: a time stamp, for every poll is no reason to write."""
    with contextlib.suppress(OSError):
        paths.heard.touch()


def lock_state(paths: StatePaths) -> int:
    """Take the state directory for this process; the lock goes with the process.

    Raises StateError when another agent holds it.
    """
    with named_disk_errors(paths.root):
        descriptor = os.open(paths.root / "agent.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        message = f"another agent runs in {paths.root}; stop it or choose another --state"
        raise StateError(message) from exc
    return descriptor
