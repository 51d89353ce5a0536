"""What a running agent offers to the line: the endpoint and the watched folder, over one model."""

import json

import pytest

from device_agent.assemble import make_engines, with_measuring
from device_agent.errors import BadAddressError, StateError
from device_agent.machine.profile import Probed
from device_agent.serving.providers import Choice, ChoiceFile
from device_agent.serving.runtime import CPU
from device_agent.serving.services import Services, measure_active
from tests.device_agent.conftest import image_bytes
from tests.device_agent.desk import call


def changed(settings, **changes):
    return settings.model_copy(update=changes)


@pytest.fixture
def agent_of(open_box, settings):
    """Return the one box's agent, trained, with other settings of serving."""

    def start(**changes):
        agent = open_box()
        agent.run_once()
        object.__setattr__(agent.box, "settings", changed(settings, **changes))
        return agent

    return start


def test_the_endpoint_and_the_folder_answer_by_the_agents_model(agent_of, tmp_path):
    agent = agent_of(serve_port=0, watch_folder=tmp_path / "watched")
    services = Services(agent)
    services.start()
    (tmp_path / "watched/a.png").write_bytes(image_bytes(220))
    port = services.desk.port

    status, answer, _ = call(port, "POST", "/predict", image_bytes(220))
    about = call(port, "GET", "/v2/models/active")[1]
    told = call(port, "GET", "/status")[1]
    services.close(finish=True)

    assert (status, answer["label"]) == (200, "defect")
    assert told == {"step": "active", "active": agent.box.shelf.active_id()}
    assert about["name"] == "active"
    said = json.loads((tmp_path / "watched/a.png.json").read_bytes())
    assert said["label"] == "defect"
    summary = agent.window.roll(agent.box.world.now(), force=True)
    assert summary.counts == {"defect": 2}


def test_an_agent_that_offers_nothing_starts_and_ends_all_the_same(agent_of):
    services = Services(agent_of())
    services.start()

    assert services.desk is None
    services.close(finish=True)


def test_a_port_that_is_taken_and_a_folder_that_cannot_be_are_named(agent_of, tmp_path):
    agent = agent_of(serve_port=0)
    first = Services(agent)
    object.__setattr__(
        agent.box, "settings", changed(agent.box.settings, serve_port=first.desk.port)
    )
    with pytest.raises(BadAddressError):
        Services(agent)
    first.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError):
        Services(agent_of(watch_folder=tmp_path / "file" / "watched"))


def test_a_box_that_serves_states_the_memory_of_serving(settings, tmp_path):
    idle = settings.allowance_bytes

    assert changed(settings, watch_folder=tmp_path).allowance_bytes > idle
    assert changed(settings, serve_port=0).allowance_bytes > idle


CUDA = "CUDAExecutionProvider"


def say_there_is_cuda(agent) -> None:
    probe = Probed(
        key="k", runtime_floor_bytes=1, benchmark_ms=1.0, providers=(CUDA, CPU), versions={}
    )
    agent.box.paths.probe.write_text(probe.model_dump_json())


def choices(agent) -> list[Choice]:
    path = agent.box.paths.root / "providers.json"
    raw = json.loads(path.read_bytes()) if path.exists() else {}
    return [choice for key in raw if (choice := ChoiceFile(path).get(key)) is not None]


class Reopening:
    def __init__(self) -> None:
        self.times = 0

    def reopen(self) -> None:
        self.times += 1


def test_a_claimed_accelerator_is_measured_in_children_and_the_cpu_stays_where_it_fails(agent_of):
    agent = agent_of()
    predictor = Reopening()
    engines = make_engines(agent.box.settings, agent.box.paths)
    measure_active(agent, predictor, engines)
    assert choices(agent) == []

    say_there_is_cuda(agent)
    measure_active(agent, predictor, engines)

    (choice,) = choices(agent)
    assert choice.provider == CPU
    assert CUDA in choice.why
    assert [timing.provider for timing in choice.timings] == [CPU, CUDA]
    assert choice.timings[0].latency_ms is not None
    assert predictor.times == 0

    path = agent.box.paths.root / "providers.json"
    (key,) = json.loads(path.read_bytes())
    ChoiceFile(path).put(key, Choice(provider=CUDA, why="recorded"))
    measure_active(agent, predictor, engines)
    assert predictor.times == 1, "a better way is taken at once"


class Preparing:
    """Counts what was measured."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def prepare(self, _, manifest):
        self.models.append(manifest)


def test_a_model_is_measured_before_it_is_switched_to_and_only_if_it_runs(tmp_path):
    engines = Preparing()

    assert with_measuring(lambda *_: None, engines)(tmp_path, "good") is None
    assert with_measuring(lambda *_: "hangs", engines)(tmp_path, "bad") == "hangs"
    assert engines.models == ["good"]
