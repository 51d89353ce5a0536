"""The local endpoint, over real sockets."""

import http.client
import json
import threading
from datetime import UTC, datetime

import pytest

from contract.inference import Prediction
from device_agent.errors import BadAddressError, BadImageError, NoPredictionError
from device_agent.serve import LocalServer
from device_agent.summary import InferenceWindow
from tests.device_agent.fleet import cloud_prediction


class Stub:
    """Answers as it is told; ``gate`` holds an answer back."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Semaphore(0)

    def predict(self, _: bytes) -> Prediction:
        self.inside.release()
        self.gate.wait(10)
        if self.error:
            raise self.error
        return Prediction.model_validate(cloud_prediction())


@pytest.fixture
def desk():
    stub = Stub()
    window = InferenceWindow(datetime(2026, 1, 1, tzinfo=UTC))
    server = LocalServer(0, stub, window.note, lambda: {"step": "active"})
    server.start()
    yield server, stub, window
    server.close()


def call(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def test_an_image_is_answered_and_counted(desk):
    server, _, window = desk
    status, answer, _ = call(server.port, "POST", "/predict", b"image")

    assert status == 200
    assert answer["label"] == "ok"
    body = window.roll(datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert body.counts == {"ok": 1}
    assert body.cloud_count == 1


def test_a_port_that_is_taken_is_named(desk):
    server, stub, window = desk

    with pytest.raises(BadAddressError, match="--serve-port"):
        LocalServer(server.port, stub, window.note, dict)


def test_health_and_status_are_told(desk):
    server, _, _ = desk

    assert call(server.port, "GET", "/healthz")[0] == 200
    assert call(server.port, "GET", "/status")[1] == {"step": "active"}
    assert call(server.port, "GET", "/etc/passwd")[0] == 404
    assert call(server.port, "POST", "/else", b"x")[0] == 404


@pytest.mark.parametrize(
    ("error", "status"), [(BadImageError("no image"), 422), (NoPredictionError("no model"), 503)]
)
def test_what_cannot_be_answered_is_a_problem_with_a_reason(desk, error, status):
    server, stub, _ = desk
    stub.error = error
    got, answer, headers = call(server.port, "POST", "/predict", b"x")

    assert got == status
    assert answer["detail"] == str(error)
    assert headers["Content-Type"] == "application/problem+json"


def test_what_is_too_big_is_refused_unread(desk):
    server, _, _ = desk

    assert call(server.port, "POST", "/predict", b"", {"Content-Length": "99999999"})[0] == 413
    assert call(server.port, "POST", "/predict", b"", {"Content-Length": "-5"})[0] == 411


def test_beyond_two_at_once_a_caller_is_asked_to_come_back(desk):
    server, stub, _ = desk
    stub.gate.clear()
    answers: list[int] = []
    callers = [
        threading.Thread(
            target=lambda: answers.append(call(server.port, "POST", "/predict", b"x")[0])
        )
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for _ in callers:
        stub.inside.acquire(timeout=10)

    status, _, headers = call(server.port, "POST", "/predict", b"x")
    stub.gate.set()
    for caller in callers:
        caller.join()

    assert status == 503
    assert headers["Retry-After"] == "1"
    assert answers == [200, 200]
