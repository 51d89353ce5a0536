"""Predictions here and in the cloud, and the hard rule about images."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from contract.desired import DesiredState
from contract.inference import Prediction
from device_agent.errors import BadImageError, NoPredictionError, ServerAwayError
from device_agent.paths import StatePaths
from device_agent.predict import Predictor, SetAside, probabilities
from device_agent.privacy import may_ask_cloud
from device_agent.runtime import open_session
from device_agent.shelf import Manifest, Shelf
from tests.device_agent.conftest import image_bytes
from tests.device_agent.fleet import PX, cloud_prediction, tiny_model

ACTIONS, FALLBACKS = ("train", "cloud", "idle"), ("never", "nothing_fits", "on_failure")


def desired(action="train", fallback="never", *, may_leave=False) -> DesiredState:
    return DesiredState(
        generation=1, action=action, release_number=1, decision_id=None, assignment=None,
        accuracy_floor=0.5, fallback=fallback, images_may_leave=may_leave, why="", next_better="",
    )  # fmt: skip


class Cloud:
    """Records every image that reaches it."""

    def __init__(self, *, away: bool = False) -> None:
        self.images: list[bytes] = []
        self.away = away

    def __call__(self, image: bytes) -> Prediction:
        if self.away:
            raise ServerAwayError("the server is away")
        self.images.append(image)
        return Prediction.model_validate(cloud_prediction())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    paths = StatePaths(tmp_path / "state")
    paths.make()
    return Shelf(paths)


def put(shelf: Shelf, name: str, content: bytes) -> None:
    source = shelf.folder("x").parent.parent / "source"
    source.write_bytes(content)
    shelf.install(
        source,
        Manifest(
            model_id=name, variant="xcep", classes=("ok", "defect"), input_px=PX, in_channels=3,
            sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content),
            release_number=3, point_key="p", balanced_accuracy=0.9, n_test=10, data_key="d",
            artifacts=(), made_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
    )  # fmt: skip
    shelf.activate(name)


def test_the_active_model_answers(shelf):
    put(shelf, "one", tiny_model())
    predictor = Predictor(shelf, desired, Cloud())

    bright, dark = predictor.predict(image_bytes(220)), predictor.predict(image_bytes(20))

    assert (bright.label, dark.label) == ("defect", "ok")
    assert bright.source == "device"
    assert bright.release_number == 3
    assert sum(bright.probabilities.values()) == pytest.approx(1)


def test_a_new_model_is_picked_up_without_a_restart(shelf):
    put(shelf, "one", tiny_model())
    predictor = Predictor(shelf, desired, Cloud())
    assert predictor.predict(image_bytes(220)).label == "defect"

    put(shelf, "two", tiny_model(bias=100.0))

    assert predictor.predict(image_bytes(220)).label == "ok"


def test_a_damaged_active_model_gives_way_to_the_last_known_good(shelf):
    put(shelf, "one", tiny_model())
    put(shelf, "two", tiny_model(bias=100.0))
    (shelf.folder("two") / "model.onnx").write_bytes(b"damaged")
    predictor = Predictor(shelf, desired, Cloud())

    assert predictor.predict(image_bytes(220)).label == "defect"


def test_a_model_that_the_runtime_refuses_is_set_aside_once(shelf):
    put(shelf, "one", b"this is no onnx")
    opened = []

    def refuse(path: Path):
        opened.append(path)
        raise RuntimeError("no graph")

    predictor = Predictor(shelf, desired, Cloud(), refuse)
    for _ in range(3):
        with pytest.raises(NoPredictionError, match=r"no graph|set aside"):
            predictor.predict(image_bytes())

    assert len(opened) == 1


def test_a_model_that_was_set_aside_is_asked_again_after_a_while(shelf):
    put(shelf, "one", tiny_model())
    now_s, opened = [0.0], []

    def fail_at_first(path: Path):
        opened.append(now_s[0])
        if len(opened) <= 2:
            raise MemoryError("no memory just now")
        return open_session(path)

    predictor = Predictor(shelf, desired, Cloud(), fail_at_first, lambda: now_s[0])
    for second in (0.0, 29.0, 30.0, 89.0):
        now_s[0] = second
        with pytest.raises(NoPredictionError):
            predictor.predict(image_bytes())
    now_s[0] = 90.0

    assert predictor.predict(image_bytes(220)).label == "defect"
    assert opened == [0.0, 30.0, 90.0]


def test_the_pause_of_a_model_is_bounded():
    assert SetAside.after(1, 0.0).retry_at_s == 30.0
    assert SetAside.after(10_000, 0.0).retry_at_s == 3600.0


def test_the_fallback_is_loaded_once_while_the_active_model_rests(shelf):
    put(shelf, "one", tiny_model())
    put(shelf, "two", tiny_model(bias=100.0))
    opened = []

    def refuse_two(path: Path):
        opened.append(path.parent.name)
        if path.parent.name == "two":
            raise RuntimeError("no graph")
        return open_session(path)

    predictor = Predictor(shelf, desired, Cloud(), refuse_two, lambda: 0.0)
    for _ in range(3):
        assert predictor.predict(image_bytes(220)).label == "defect"

    assert opened == ["two", "one"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("has_model", [True, False])
def test_no_image_leaves_a_box_whose_policy_keeps_them(shelf, action, fallback, has_model):
    if has_model:
        put(shelf, "one", b"this is no onnx")
    cloud = Cloud()
    predictor = Predictor(shelf, lambda: desired(action, fallback, may_leave=False), cloud)

    with pytest.raises(NoPredictionError, match="keeps images on the box"):
        predictor.predict(image_bytes())
    assert cloud.images == []


def test_no_image_leaves_a_box_that_never_heard_a_policy(shelf):
    cloud = Cloud()
    with pytest.raises(NoPredictionError, match="not been heard"):
        Predictor(shelf, lambda: None, cloud).predict(image_bytes())
    assert cloud.images == []


@pytest.mark.parametrize(
    ("action", "fallback", "local_failed", "allowed"),
    [
        ("cloud", "never", False, True),
        ("train", "on_failure", True, True),
        ("train", "on_failure", False, False),
        ("train", "nothing_fits", True, False),
        ("idle", "never", True, False),
        ("idle", "on_failure", True, True),
    ],
)
def test_where_images_may_leave_the_fallback_decides(action, fallback, local_failed, allowed):
    policy = desired(action, fallback, may_leave=True)

    assert may_ask_cloud(policy, local_failed=local_failed) is allowed


def test_a_box_told_cloud_asks_the_cloud(shelf):
    put(shelf, "one", tiny_model())
    cloud = Cloud()
    answer = Predictor(shelf, lambda: desired("cloud", may_leave=True), cloud).predict(
        image_bytes()
    )

    assert answer.source == "cloud"
    assert len(cloud.images) == 1


def test_while_the_cloud_is_away_the_old_model_answers(shelf):
    put(shelf, "one", tiny_model())
    policy = desired("cloud", may_leave=True)

    assert (
        Predictor(shelf, lambda: policy, Cloud(away=True)).predict(image_bytes()).source == "device"
    )


def test_when_everything_fails_every_reason_is_told(shelf):
    put(shelf, "one", b"this is no onnx")
    policy = desired("train", "on_failure", may_leave=True)

    with pytest.raises(NoPredictionError, match=r"cannot be loaded.*cloud: the server is away"):
        Predictor(shelf, lambda: policy, Cloud(away=True)).predict(image_bytes())


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_image_is_said_so(shelf, data):
    put(shelf, "one", tiny_model())

    with pytest.raises(BadImageError, match="no image"):
        Predictor(shelf, desired, Cloud()).predict(data)


def test_one_logit_speaks_for_the_second_class():
    assert probabilities(np.array([0.0]))[1] == pytest.approx(0.5)
    assert probabilities(np.array([5.0]))[1] > 0.99
