"""How a box opens a model: threads, a measured provider, and the CPU when an accelerator fails."""

from pathlib import Path

import numpy as np
import pytest

from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import MODEL, Manifest, Shelf
from device_agent.machine.profile import Probed
from device_agent.serving import engines as engines_module
from device_agent.serving.engines import Engines, threads_for
from device_agent.serving.providers import Timing
from device_agent.serving.runtime import CPU, FallingBackSession, ProviderAwayError, open_session
from tests.device_agent.desk import put
from tests.device_agent.fleet import PX, tiny_model

CUDA = "CUDAExecutionProvider"
IMAGE = {"images": np.full((1, PX, PX, 3), 200, np.uint8)}


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    made = StatePaths(tmp_path / "state")
    made.make()
    return made


def on_shelf(paths: StatePaths) -> tuple[Path, Manifest]:
    shelf = Shelf(paths)
    put(shelf, "one", tiny_model())
    return shelf.folder("one") / MODEL, shelf.manifest("one")


def say_providers(paths: StatePaths, *names: str) -> None:
    probe = Probed(
        key="k", runtime_floor_bytes=1, benchmark_ms=1.0, providers=names, versions={"x": "1"}
    )
    paths.probe.write_text(probe.model_dump_json())


class Clocked:
    """Takes recorded times, and counts."""

    def __init__(self, cuda_ms: float) -> None:
        self.cuda_ms = cuda_ms
        self.turns: list[str] = []

    def __call__(self, name: str) -> Timing:
        self.turns.append(name)
        time_ms = self.cuda_ms if name == CUDA else 10.0
        return Timing(provider=name, latency_ms=time_ms, probabilities=(0.5, 0.5), rss_bytes=1)


def test_half_the_cores_serve_one_prediction_unless_told_otherwise():
    assert [threads_for(None, cores) for cores in (1, 2, 3, 4, 8, 64)] == [1, 1, 1, 2, 4, 4]
    assert threads_for(7, 2) == 7


def test_on_a_box_with_the_cpu_alone_nothing_is_measured_or_written(paths):
    model, manifest = on_shelf(paths)
    clock = Clocked(1.0)
    for known in ((), (CPU,), ("AzureExecutionProvider", CPU)):
        say_providers(paths, *known)
        engines = Engines(paths=paths, threads=1)

        assert engines.prepare(model, manifest, clock) is None
        assert engines.open(model).run(["logits"], IMAGE)[0].shape == (1, 2)
    assert clock.turns == []
    assert not (paths.root / "providers.json").exists()


def test_a_box_that_was_never_probed_serves_on_the_cpu(paths):
    model, manifest = on_shelf(paths)
    engines = Engines(paths=paths, threads=2)

    assert engines.prepare(model, manifest) is None
    session = engines.open(model)
    assert session.get_session_options().intra_op_num_threads == 2


def test_a_choice_is_measured_once_until_something_changes(paths):
    model, manifest = on_shelf(paths)
    say_providers(paths, CUDA, CPU)
    clock = Clocked(1.0)
    for _ in range(2):
        choice = Engines(paths=paths, threads=1).prepare(model, manifest, clock)
        assert choice is not None
        assert choice.provider == CUDA
    assert clock.turns == [CPU, CUDA]

    Engines(paths=paths, threads=2).prepare(model, manifest, clock)
    assert clock.turns == [CPU, CUDA] * 2


def test_half_of_the_cap_is_all_that_an_accelerator_may_take(paths):
    model, manifest = on_shelf(paths)
    say_providers(paths, CUDA, CPU)

    def greedy(name: str) -> Timing:
        return Clocked(1.0)(name).model_copy(update={"rss_bytes": 200_000_000})

    engines = Engines(paths=paths, threads=1, ram_cap_bytes=256_000_000)
    choice = engines.prepare(model, manifest, greedy)
    assert choice is not None
    assert choice.provider == CPU


class Opened(list[str]):
    """Stands in for onnxruntime with an accelerator: what was opened by which provider."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        super().__init__()

    def __call__(self, model: Path, threads: int = 1, provider: str = CPU):
        self.append(provider)
        if provider != CPU and self.broken:
            raise ProviderAwayError(provider)
        return open_session(model, threads)


@pytest.mark.parametrize("broken", [False, True])
def test_the_chosen_provider_opens_the_model_or_else_the_cpu(paths, monkeypatch, broken):
    model, manifest = on_shelf(paths)
    say_providers(paths, CUDA, CPU)
    opened = Opened(broken=broken)
    monkeypatch.setattr(engines_module, "open_session", opened)
    engines = Engines(paths=paths, threads=1)

    assert engines.open(model).run(["logits"], IMAGE)[0].shape == (1, 2)
    assert opened == [CPU], "nothing was measured yet"
    engines.prepare(model, manifest, Clocked(1.0))
    assert engines.open(model).run(["logits"], IMAGE)[0].shape == (1, 2)
    assert opened == [CPU, CUDA, CPU] if broken else [CPU, CUDA]


def test_a_provider_that_is_not_there_is_an_error_with_its_name(paths):
    model, _ = on_shelf(paths)

    with pytest.raises(ProviderAwayError, match=CUDA):
        open_session(model, 1, CUDA)


class Breaking:
    """A session that answers so many times and then loses its device."""

    def __init__(self, n_good: int) -> None:
        self.n_good = n_good

    def run(self, *_):
        self.n_good -= 1
        if self.n_good < 0:
            raise RuntimeError("the device is lost")
        return ["accelerated"]


class Steady:
    def run(self, *_):
        return ["cpu"]


def test_an_accelerator_that_fails_gives_way_to_the_cpu_without_losing_an_answer():
    opened = []

    def open_cpu():
        opened.append(CPU)
        return Steady()

    session = FallingBackSession(Breaking(2), open_cpu, CUDA)

    answers = [session.run([], {})[0] for _ in range(5)]
    assert answers == ["accelerated", "accelerated", "cpu", "cpu", "cpu"]
    assert opened == [CPU]


def test_what_fails_on_the_cpu_too_is_told():
    session = FallingBackSession(Breaking(0), lambda: Breaking(0), CUDA)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="lost"):
            session.run([], {})
