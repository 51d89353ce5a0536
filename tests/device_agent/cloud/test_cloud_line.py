"""The way to the cloud on real sockets: one deadline, one client, and a breaker in between."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from contract.inference import Prediction
from device_agent.cloud.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from device_agent.cloud.care import Care
from device_agent.cloud.cloud_line import CloudLine, CloudRestsError, Connection, is_about_the_image
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Shelf
from device_agent.errors import BadImageError, NotLetInError, RefusedError, ServerAwayError
from device_agent.loop.state import Identity, StateStore
from device_agent.server.client import INFERENCE
from device_agent.serving.predict import Predictor
from tests.device_agent.conftest import image_bytes
from tests.device_agent.fleet import DEVICE_TOKEN, cloud_prediction, tiny_model
from tests.device_agent.serving.test_predict import desired, needing, put
from tests.device_agent.sockets import drip, listening, recording, swallow

IMAGE = image_bytes(130)
QUICK_S = 0.08
NEW_TOKEN = "new-token"  # noqa: S105 - a test's own


class Still:
    """A clock that only tests move: no pause ends by itself."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def line_to(url: str, state: Path, clock: Still) -> Iterator[CloudLine]:
    store = StateStore(StatePaths(state))
    store.save_identity(Identity(device_id="box", token=DEVICE_TOKEN, server=url))
    breaker = Breaker(clock, Random(0))  # noqa: S311 - jitter
    line = CloudLine(Connection(store, None), breaker)
    try:
        yield line
    finally:
        line.close()


def ask(line: CloudLine, *, patient: bool = False, deadline_s: float = 5.0) -> Prediction:
    return line(IMAGE, deadline_s=deadline_s, patient=patient)


def settle() -> None:
    """Wait until no question is under way any more."""
    for thread in threading.enumerate():
        if thread.name == "cloud":
            thread.join(timeout=10)


def test_many_images_go_through_one_open_connection(tmp_path):
    with recording() as server, line_to(server.url, tmp_path, Still()) as line:
        answers = [ask(line) for _ in range(5)]

    assert {answer.label for answer in answers} == {"ok"}
    assert (server.requests, server.connections) == ([INFERENCE] * 5, 1)
    assert server.bodies().count(IMAGE) == 5


@pytest.mark.parametrize("server", [swallow, drip])
def test_a_hundred_images_meet_a_dead_server_once(tmp_path, server):
    paths = StatePaths(tmp_path)
    paths.make()
    shelf = Shelf(paths)
    put(shelf, "one", tiny_model())
    policy = desired(
        fallback="low_confidence", may_leave=True, max_risk=0.1, cloud_deadline_ms=QUICK_S * 1000
    )
    care = Care(threshold=lambda *_: needing(None))
    with listening(server) as dead, line_to(dead.url, tmp_path, Still()) as line:
        predictor = Predictor(shelf, lambda: policy, line, care=care)
        answers = [predictor.predict(IMAGE) for _ in range(100)]

    assert {answer.source for answer in answers} == {"device"}
    assert dead.connections == 1
    waited = [answer for answer in answers if answer.latency_ms >= QUICK_S * 1000]
    assert answers[0] in waited
    settle()


def test_a_server_that_drips_is_given_up_at_the_deadline(tmp_path):
    with listening(drip) as slow, line_to(slow.url, tmp_path, Still()) as line:
        with pytest.raises(ServerAwayError, match="within 80 ms"):
            ask(line, deadline_s=QUICK_S)
        assert slow.arrived.acquire(timeout=10)
    settle()


def test_the_probe_of_a_dead_server_costs_the_line_nothing(tmp_path):
    clock = Still()
    with listening(swallow) as dead, line_to(dead.url, tmp_path, clock) as line:
        with pytest.raises(ServerAwayError):
            ask(line, deadline_s=QUICK_S)
        clock.now_s += FIRST_PAUSE_S
        with pytest.raises(CloudRestsError, match="tried again"):
            ask(line, deadline_s=60.0)
        with pytest.raises(CloudRestsError, match="rests for"):
            ask(line, deadline_s=60.0)
        assert all(dead.arrived.acquire(timeout=10) for _ in range(2))
    settle()
    assert dead.connections == 2


def test_a_server_that_came_back_is_used_again_after_the_probe(tmp_path):
    clock = Still()
    with recording() as server, line_to(server.url, tmp_path, clock) as line:
        server.status = 500
        with pytest.raises(ServerAwayError):
            ask(line)
        server.status = 200
        clock.now_s += FIRST_PAUSE_S
        with pytest.raises(CloudRestsError, match="tried again"):
            ask(line)
        settle()

        assert ask(line).label == "ok"
    assert len(server.requests) == 3


def test_where_there_is_no_other_answer_the_probe_is_waited_for(tmp_path):
    clock = Still()
    with recording() as server, line_to(server.url, tmp_path, clock) as line:
        server.status = 500
        with pytest.raises(ServerAwayError):
            ask(line, patient=True)
        server.status = 200
        clock.now_s += FIRST_PAUSE_S

        assert ask(line, patient=True).label == "ok"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(tmp_path, status):
    clock = Still()
    with recording() as server, line_to(server.url, tmp_path, clock) as line:
        server.status, server.headers = status, {"Retry-After": "900"}
        for now_s in (0.0, LONGEST_PAUSE_S, 899.0):
            clock.now_s = now_s
            with pytest.raises(Exception, match=r"busy|rests"):
                ask(line, patient=True)
        assert len(server.requests) == 1
        server.status, clock.now_s = 200, 900 * 1.25 + 1

        assert ask(line, patient=True).label == "ok"


@pytest.mark.parametrize("status", [413, 415, 422])
def test_an_image_that_is_refused_says_nothing_against_the_server(tmp_path, status):
    with recording() as server, line_to(server.url, tmp_path, Still()) as line:
        for _ in range(3):
            server.status = status
            with pytest.raises(RefusedError):
                ask(line)
        server.status = 200

        assert ask(line).label == "ok"


def test_what_is_no_image_is_not_sent_and_says_nothing_against_the_server(tmp_path):
    with recording() as server, line_to(server.url, tmp_path, Still()) as line:
        with pytest.raises(BadImageError):
            line(b"no image", deadline_s=5.0, patient=False)

        assert ask(line).label == "ok"
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(tmp_path):
    with (
        recording() as other,
        recording() as server,
        line_to(server.url, tmp_path, Still()) as line,
    ):
        server.status, server.headers = 307, {"Location": f"{other.url}{INFERENCE}"}
        with pytest.raises(Exception, match="redirect"):
            ask(line)

    assert other.received == []


def test_a_box_that_moved_house_asks_its_new_server(tmp_path):
    with recording() as first, recording() as second, line_to(first.url, tmp_path, Still()) as line:
        ask(line)
        store = StateStore(StatePaths(tmp_path))
        store.save_identity(Identity(device_id="box", token=NEW_TOKEN, server=second.url))
        ask(line)

    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert f"Bearer {NEW_TOKEN}".encode() in second.bodies()


def test_a_box_that_is_not_enrolled_says_so(tmp_path):
    breaker = Breaker(Still(), Random(0))  # noqa: S311 - jitter
    line = CloudLine(Connection(StateStore(StatePaths(tmp_path)), None), breaker)

    with pytest.raises(NotLetInError, match="not enrolled"):
        ask(line)


class Slow:
    """Sends nothing and answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0

    def __call__(self, *_: object) -> Prediction:
        self.asked += 1
        self.go.wait(10)
        return Prediction.model_validate(cloud_prediction())

    def close(self) -> None:
        return


def test_questions_that_nobody_answers_do_not_pile_up():
    clock, slow = Still(), Slow()
    line = CloudLine(slow, Breaker(clock, Random(0)))  # noqa: S311 - jitter
    for _ in range(10):
        with pytest.raises(ServerAwayError):
            ask(line, patient=True, deadline_s=0.01)
        clock.now_s += LONGEST_PAUSE_S

    assert slow.asked == 4
    slow.go.set()
    settle()


def test_an_answer_that_comes_too_late_does_not_close_the_breaker():
    clock, slow, time = Still(), Slow(), Still()
    line = CloudLine(slow, Breaker(clock, Random(0)), time)  # noqa: S311 - jitter
    with pytest.raises(ServerAwayError):
        ask(line, patient=True, deadline_s=0.01)
    clock.now_s = FIRST_PAUSE_S
    with pytest.raises(CloudRestsError, match="tried again"):
        ask(line, deadline_s=1.0)
    time.now_s = 2.0
    slow.go.set()
    settle()

    with pytest.raises(CloudRestsError, match="rests"):
        ask(line, patient=True)


def test_a_bug_in_sending_is_raised_to_the_caller():
    def broken(*_: object) -> Prediction:
        raise ZeroDivisionError

    line = CloudLine(broken, Breaker(Still(), Random(0)))  # noqa: S311 - jitter
    with pytest.raises(ZeroDivisionError):
        ask(line)


@pytest.mark.parametrize(("status", "about"), [(422, True), (404, False), (409, False)])
def test_only_some_refusals_are_about_the_image(status, about):
    assert is_about_the_image(RefusedError("inference", status, "no")) is about
