"""What the agent's tests share: a box folder with images, a fleet, and an agent between them."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import structlog
from PIL import Image

from contract.device import DeviceProfile
from contract.finetune import FinetuneJob
from contract.report import DataQualityBody
from device_agent.assemble import open_agent
from device_agent.loop.agent import Agent
from device_agent.loop.world import World
from device_agent.quality.request import CheckSummary
from device_agent.settings import AgentSettings
from device_agent.training.trainer import Trainer, TrainerLimits
from tests.device_agent.fleet import ENROL_TOKEN, FleetSim

FAKE_TRAINER = Path(__file__).with_name("fake_trainer.py")


class Clock:
    """A clock that only moves when someone waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.seconds) + self.skew

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


def image_bytes(level: int = 30) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), (level, level, level)).save(stream, "PNG")
    return stream.getvalue()


def job_in(folder: Path) -> FinetuneJob:
    """Return a job whose files are there, with its output below ``folder``."""
    source = folder / "inference.onnx"
    source.write_bytes(b"model")
    return FinetuneJob(
        job_id="job", variant="v", weights_path=str(source), inference_path=str(source),
        train_graph_path=str(source), output_dir=str(folder / "out"), data_dir=str(folder),
        classes=["ok", "defect"], trainable=[], frozen=[], input_px=32, in_channels=3, batch=8,
        micro_batch=8, epochs=1, optimiser="sgd", learning_rate=0.1, ram_cap_bytes=90_000_000,
    )  # fmt: skip


def trainer(mode: str = "good", **limits: float) -> Trainer:
    command = (sys.executable, "-S", str(FAKE_TRAINER), mode)
    return Trainer(command=command, limits=TrainerLimits(**limits))


def make_profile(**changes: object) -> DeviceProfile:
    facts: dict[str, object] = {
        "cpu": "cpu", "cores": 1, "ram_total_bytes": 4 * 10**9, "ram_available_bytes": 3 * 10**9,
        "swap_bytes": 0, "disk_free_bytes": 10**10, "cgroup_limit_bytes": None,
        "operator_cap_bytes": 256_000_000, "agent_bytes": 80_000_000,
        "runtime_floor_bytes": 50_000_000, "benchmark_ms": 10.0, "versions": {}, "n_ok": 5,
        "n_defect": 5,
    }  # fmt: skip
    return DeviceProfile.model_validate(facts | changes)


def fine_images(**changes: object) -> CheckSummary:
    """What a look at images finds where nothing is wrong."""
    body: dict[str, object] = {
        "class_counts": {"ok": 5, "defect": 5}, "findings": {}, "enough": True, "advice": "Enough.",
    }  # fmt: skip
    facts = {"trainable": True, "refusal": "", "body": DataQualityBody.model_validate(body)}
    return CheckSummary.model_validate(facts | changes)


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet() -> FleetSim:
    return FleetSim()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, level in (("ok", 30), ("defect", 220)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}.png").write_bytes(image_bytes(level + number))
    return tmp_path / "data"


@pytest.fixture
def settings(tmp_path: Path, data: Path) -> AgentSettings:
    return AgentSettings.model_validate(
        {
            "server": "http://fleet.test",
            "data": data,
            "state": tmp_path / "state",
            "enrol_token": ENROL_TOKEN,
            "name": "box",
            "ram_cap": 256_000_000,
        }
    )


@pytest.fixture
def open_box(
    settings: AgentSettings, fleet: FleetSim, clock: Clock
) -> Iterator[Callable[..., Agent]]:
    """Open the agent of the one box; opening it again is a restart."""
    with ExitStack() as stack:
        last: list[AbstractContextManager[Agent]] = []

        def start(mode: str = "good", **changes: object) -> Agent:
            while last:
                last.pop().__exit__(None, None, None)
            world = World(
                now=clock.now,
                monotonic=clock.monotonic,
                sleep=clock.sleep,
                chance=Random(0),  # noqa: S311 - jitter
            )
            given: dict[str, object] = {
                "http": fleet.client(), "world": world, "trainer": trainer(mode),
                "profile": make_profile, "try_model": lambda *_: None,
                "look_at_data": lambda *_: fine_images(),
            }  # fmt: skip
            opened = open_agent(settings, **(given | changes))  # type: ignore[arg-type]
            last.append(opened)
            return opened.__enter__()

        stack.callback(lambda: [opened.__exit__(None, None, None) for opened in last])
        yield start
