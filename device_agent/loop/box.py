"""Everything that a step of the agent may touch, in one place that ``main`` or a test fills."""

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.device import DeviceProfile
from contract.finetune import FinetuneProgress
from contract.report import EventBody, ReportBody
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.loop.state import StateStore
from device_agent.loop.world import World
from device_agent.machine.profile import is_image
from device_agent.quality.look_child import Look, look_in_child
from device_agent.server.client import ServerClient
from device_agent.server.fetch import Cache
from device_agent.server.outbox import Outbox
from device_agent.settings import AgentSettings
from device_agent.training.children import quiet_environment
from device_agent.training.trainer import Trainer

_TRIAL_S = 60
_NAMESPACE = uuid.UUID("6f2d6d0e-8d0a-4d59-9f2a-6a3c1f0e7b11")
TakeProfile = Callable[[], DeviceProfile]
TryModel = Callable[[Path, Manifest], str | None]


@dataclass(frozen=True, kw_only=True)
class Box:
    """``take_profile`` looks at the box now; ``try_model`` says what is wrong with a model.

    ``look_at_data`` says what is wrong with a folder of images.
    """

    settings: AgentSettings
    paths: StatePaths
    store: StateStore
    shelf: Shelf
    cache: Cache
    outbox: Outbox
    client: ServerClient
    trainer: Trainer
    world: World
    take_profile: TakeProfile
    try_model: TryModel
    on_progress: Callable[[FinetuneProgress], None]
    look_at_data: Look = look_in_child

    def report(self, name: str, body: ReportBody) -> None:
        """Keep a report under a key made from ``name``: doing so twice keeps one."""
        self.outbox.add(report_key(name), body, self.world.now())
        self.world.mark(f"reported {body.kind}")

    def event(self, task: str, name: str, text: str) -> None:
        """Report something that happened, once per task."""
        self.report(f"{task}/{name}", EventBody(name=name, fields={"text": printable(text)[:1900]}))


def report_key(name: str) -> str:
    """Return the key of the report called ``name``: the same name, the same key."""
    return str(uuid.uuid5(_NAMESPACE, name))


def printable(text: str) -> str:
    """Return ``text`` with control characters and surrogates as blanks, as the contract wants."""
    return "".join(c if c.isprintable() else " " for c in text)


def data_key(*folders: Path | None) -> str:
    """Name a set of images by path and size: the same key, the same images to judge by."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(b"|")
        if folder is None:
            continue
        for path in sorted(p for p in folder.rglob("*") if is_image(p.name)):
            line = f"{path.relative_to(folder)}:{path.stat().st_size};"
            digest.update(line.encode("utf-8", errors="surrogateescape"))
    return digest.hexdigest()


def try_model_in_child(model: Path, manifest: Manifest) -> str | None:
    """Load and run the model once in a child; return what is wrong, or None."""
    numbers = (manifest.input_px, manifest.in_channels, len(manifest.classes))
    command = [
        sys.executable,
        "-m",
        "device_agent.machine.probe",
        "--model",
        str(model),
        *map(str, numbers),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, timeout=_TRIAL_S, check=True, env=quiet_environment()
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"the model hung the runtime for {_TRIAL_S} s"
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        return f"the runtime ended with {exc.returncode}: {' '.join(last)[:300]}"
    except (OSError, ValueError) as exc:
        return f"the trial gave no answer: {exc}"
    return (
        None
        if answer.get("fits") is True
        else "the model's answer has the wrong shape or is not finite"
    )
