"""Predictions here and in the cloud, and the hard rule about images."""

from pathlib import Path

import numpy as np
import pytest

from contract.desired import DesiredState
from contract.inference import Prediction
from contract.rules import BoxRules
from device_agent.cloud.calibrate import Calibration
from device_agent.cloud.care import Care
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Shelf
from device_agent.errors import BadImageError, NoPredictionError, ServerAwayError
from device_agent.serving.predict import Predictor, SetAside, probabilities
from device_agent.serving.runtime import open_session
from tests.device_agent.conftest import image_bytes
from tests.device_agent.desk import put
from tests.device_agent.fleet import cloud_prediction, tiny_model

ACTIONS = ("train", "cloud", "idle")
FALLBACKS = ("never", "nothing_fits", "on_failure", "low_confidence")


def desired(action="train", fallback="never", *, may_leave=False, **rules) -> DesiredState:
    return DesiredState(
        generation=1, action=action, release_number=1, decision_id=None, assignment=None,
        accuracy_floor=0.5, fallback=fallback, images_may_leave=may_leave, why="", next_better="",
        rules=BoxRules(**rules),
    )  # fmt: skip


class Cloud:
    """Records every image that reaches it."""

    def __init__(self, *, away: bool = False) -> None:
        self.images: list[bytes] = []
        self.asked: list[tuple[float, bool]] = []
        self.away = away

    def __call__(self, image: bytes, *, deadline_s: float, patient: bool) -> Prediction:
        self.asked.append((deadline_s, patient))
        if self.away:
            raise ServerAwayError("the server is away")
        self.images.append(image)
        return Prediction.model_validate(cloud_prediction())

    def close(self) -> None:
        return


class Told:
    """Remembers what a predictor lets be counted."""

    def __init__(self) -> None:
        self.overruled: list[str] = []
        self.audited = 0

    def note_overruled(self, prediction: Prediction) -> None:
        self.overruled.append(prediction.label)

    def note_audited(self) -> None:
        self.audited += 1


def needing(threshold: float | None) -> Calibration:
    return Calibration(
        max_risk=0.1, max_offload=None, confidence=0.9, threshold=threshold, n=50, kept_share=0.5
    )


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    paths = StatePaths(tmp_path / "state")
    paths.make()
    return Shelf(paths)


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


def test_a_box_told_cloud_asks_the_cloud_and_says_why(shelf):
    put(shelf, "one", tiny_model())
    cloud = Cloud()
    policy = desired("cloud", "nothing_fits", may_leave=True)
    answer = Predictor(shelf, lambda: policy, cloud).predict(image_bytes())

    assert (answer.source, answer.why_cloud) == ("cloud", "nothing_fits")
    assert len(cloud.images) == 1


def test_while_the_cloud_is_away_the_old_model_answers(shelf):
    put(shelf, "one", tiny_model())
    policy, cloud = desired("cloud", "nothing_fits", may_leave=True), Cloud(away=True)
    answer = Predictor(shelf, lambda: policy, cloud).predict(image_bytes())

    assert (answer.source, answer.why_cloud) == ("device", None)
    assert cloud.asked == [(2.0, False)]


def test_a_box_without_any_model_waits_for_the_cloud(shelf):
    policy = desired("train", "on_failure", may_leave=True, cloud_deadline_ms=300)
    cloud = Cloud()
    answer = Predictor(shelf, lambda: policy, cloud).predict(image_bytes())

    assert answer.why_cloud == "on_failure"
    assert cloud.asked == [(0.3, True)]


def test_a_doubtful_answer_is_asked_of_the_cloud_and_a_sure_one_is_kept(shelf):
    put(shelf, "one", tiny_model())
    told, cloud = Told(), Cloud()
    policy = desired(fallback="low_confidence", may_leave=True, max_risk=0.1)
    care = Care(threshold=lambda *_: needing(0.99), witness=told)
    predictor = Predictor(shelf, lambda: policy, cloud, care=care)

    sure, doubtful = predictor.predict(image_bytes(220)), predictor.predict(image_bytes(130))

    assert (sure.source, sure.why_cloud) == ("device", None)
    assert (doubtful.source, doubtful.why_cloud) == ("cloud", "low_confidence")
    assert (len(cloud.images), cloud.asked) == (1, [(2.0, False)])
    assert told.overruled == ["defect"]


def test_a_doubtful_answer_stands_where_the_cloud_says_nothing(shelf):
    put(shelf, "one", tiny_model())
    told = Told()
    policy = desired(fallback="low_confidence", may_leave=True, max_risk=0.1)
    care = Care(threshold=lambda *_: needing(None), witness=told)
    predictor = Predictor(shelf, lambda: policy, Cloud(away=True), care=care)

    answer = predictor.predict(image_bytes(130))

    assert (answer.source, answer.why_cloud, answer.label) == ("device", None, "defect")
    assert told.overruled == []


@pytest.mark.parametrize(
    ("fallback", "may_leave"),
    [("on_failure", True), ("nothing_fits", True), ("never", True), ("low_confidence", False)],
)
def test_no_threshold_is_worked_out_where_doubt_sends_nothing(shelf, fallback, may_leave):
    put(shelf, "one", tiny_model())
    policy = desired(fallback=fallback, may_leave=may_leave, max_risk=0.1)

    def never(*_: object) -> None:
        raise AssertionError

    predictor = Predictor(shelf, lambda: policy, Cloud(), care=Care(threshold=never))

    assert predictor.predict(image_bytes(130)).source == "device"


def test_a_policy_without_a_promise_sends_no_doubtful_answer(shelf):
    put(shelf, "one", tiny_model())
    policy = desired(fallback="low_confidence", may_leave=True)

    assert Predictor(shelf, lambda: policy, Cloud()).predict(image_bytes(130)).source == "device"


def test_what_is_kept_for_a_person_is_counted(shelf):
    put(shelf, "one", tiny_model())
    told, kept = Told(), []
    policy = desired(audit_share=0.25)

    def sample(image: bytes, prediction: Prediction, share: float) -> bool:
        kept.append((image, prediction.label, share))
        return len(kept) == 2

    care = Care(sample=sample, witness=told)
    predictor = Predictor(shelf, lambda: policy, Cloud(), care=care)
    for level in (220, 20):
        predictor.predict(image_bytes(level))

    assert kept == [(image_bytes(220), "defect", 0.25), (image_bytes(20), "ok", 0.25)]
    assert told.audited == 1


def test_a_box_that_never_heard_a_policy_keeps_no_image_for_a_person(shelf):
    put(shelf, "one", tiny_model())

    def never(*_: object) -> bool:
        raise AssertionError

    Predictor(shelf, lambda: None, Cloud(), care=Care(sample=never)).predict(image_bytes())


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
