"""A server that records every byte sees no image of a box whose policy keeps them. Real sockets.

The policy is drawn at random: every action, fallback and promise, models that fail, answers that
are doubtful, states that no server of ours would send. The same recorder shows that it would have
seen an image: where the policy lets them leave, they arrive.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.desired import DesiredState
from contract.rules import BoxRules
from device_agent.assemble import make_predictor
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Shelf
from device_agent.errors import AgentError
from device_agent.loop.agent import Agent
from device_agent.loop.state import Identity, StateStore
from device_agent.serving.predict import Predictor
from device_agent.settings import AgentSettings
from tests.device_agent.conftest import image_bytes
from tests.device_agent.fleet import DEVICE_TOKEN, tiny_model
from tests.device_agent.serving.test_predict import ACTIONS, FALLBACKS, desired, put
from tests.device_agent.sockets import Recorder, recording

IMAGES = [image_bytes(level) for level in (20, 120, 130, 220)]
MODELS = {"good": tiny_model(), "broken": b"this is no onnx", "none": None}
RULES = st.builds(
    BoxRules,
    max_risk=st.none() | st.floats(0.001, 0.9),
    max_offload=st.none() | st.floats(0.001, 0.9),
    cloud_deadline_ms=st.floats(10, 100),
    audit_share=st.floats(0, 0.5),
)
KEEPING = st.none() | st.builds(
    lambda action, fallback, rules: desired(action).model_copy(
        update={"fallback": fallback, "rules": rules}
    ),
    st.sampled_from(ACTIONS),
    st.sampled_from([*FALLBACKS, "", "always", None]),
    RULES,
)


@contextlib.contextmanager
def box(folder: Path, url: str, model: bytes | None, said: list) -> Iterator[Predictor]:
    store = StateStore(StatePaths(folder))
    store.paths.make()
    store.save_identity(Identity(device_id="box", token=DEVICE_TOKEN, server=url))
    if model is not None:
        put(Shelf(store.paths), "one", model)
    known = AgentSettings(state=folder, server=url)
    with contextlib.closing(make_predictor(store, lambda: said[0], known)) as predictor:
        yield predictor


@pytest.fixture(params=sorted(MODELS))
def told(request, tmp_path) -> Iterator[tuple[Recorder, Predictor, list]]:
    """A recorder, the predictor of a box with one kind of model, and what its policy says."""
    said: list[DesiredState | None] = [None]
    with (
        recording() as server,
        box(tmp_path / "state", server.url, MODELS[request.param], said) as predictor,
    ):
        yield server, predictor, said


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(KEEPING, st.sampled_from(IMAGES))
def test_not_one_byte_of_an_image_leaves(told, policy, image):
    server, predictor, said = told
    said[0] = policy
    with contextlib.suppress(AgentError):
        assert predictor.predict(image).source == "device"

    assert server.received == []
    assert server.connections == 0


@pytest.mark.parametrize("odd", [None, 0, "", "yes", 1, [True]])
def test_only_a_plain_yes_lets_images_leave(told, odd):
    server, predictor, said = told
    plain = desired("cloud", "low_confidence", max_risk=0.01)
    said[0] = plain.model_copy(update={"images_may_leave": odd})
    with contextlib.suppress(AgentError):
        predictor.predict(IMAGES[0])

    assert server.received == []


def test_the_recorder_would_have_seen_it(told):
    server, predictor, said = told
    said[0] = desired("train", "low_confidence", may_leave=True, max_risk=0.01)
    answer = predictor.predict(IMAGES[2])

    assert answer.source == "cloud"
    assert IMAGES[2] in server.bodies()


def test_a_policy_that_is_withdrawn_holds_from_the_next_image_on(told):
    server, predictor, said = told
    said[0] = desired("train", "low_confidence", may_leave=True, max_risk=0.01)
    predictor.predict(IMAGES[2])
    said[0] = desired("train", "low_confidence", may_leave=False, max_risk=0.01)
    with contextlib.suppress(AgentError):
        predictor.predict(IMAGES[1])

    assert IMAGES[2] in server.bodies()
    assert IMAGES[1] not in server.bodies()


def test_nothing_that_the_agent_reports_holds_pixels_or_names_of_files(open_box, fleet, settings):
    """With every image sampled for the audit and every answer doubtful."""
    fleet.rules = BoxRules(max_risk=0.01, audit_share=0.5)
    fleet.fallback = "low_confidence"
    agent: Agent = open_box()
    agent.run_once()
    predictor = make_predictor(
        agent.box.store, lambda: agent.state.desired, agent.box.settings, agent.window
    )
    with contextlib.closing(predictor):
        for level in range(20, 60):
            agent.window.note(predictor.predict(image_bytes(level)))
    agent.close()
    agent.cycle()

    said = "".join(report.model_dump_json() for report in fleet.reports.values())
    assert fleet.images == []
    assert '"audited_count":' in said
    kept = [path for path in (settings.state / "audit").iterdir() if path.suffix == ".png"]
    assert len(kept) > 5
    for word in (".png", "PNG", "iVBOR", "data:image", *(path.stem for path in kept)):
        assert word not in said
