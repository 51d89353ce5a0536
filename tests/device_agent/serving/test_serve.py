"""The local endpoint, over real sockets."""

import contextlib
import http.client
import json
import socket
import threading
from datetime import UTC, datetime

import pytest

from contract.inference import Prediction
from device_agent.cloud.summary import InferenceWindow
from device_agent.errors import BadAddressError, BadImageError, NoPredictionError
from device_agent.serving.images import MOST_BYTES
from device_agent.serving.serve import Bounds, LocalServer
from tests.device_agent.desk import Notes
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


def talk(port: int, *pieces: bytes, timeout_s: float = 10.0) -> bytes:
    """Send raw bytes and return everything until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


@contextlib.contextmanager
def bounded(**bounds):
    stub = Stub()
    server = LocalServer(0, stub, Notes().note, dict, Bounds(**bounds))
    server.start()
    try:
        yield server, stub
    finally:
        stub.gate.set()
        server.close()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"POST /predict HT", b""),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n", b""),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", b"HTTP/1.1 408"),
        (b"POST /v2/models/active/infer HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", b"HTTP/1.1 408"),
    ],
)
def test_a_client_that_does_not_finish_is_cut_off(sent, answer):
    with bounded(idle_s=0.2, request_s=0.2) as (server, _):
        assert talk(server.port, sent)[: len(b"HTTP/1.1 408")] == answer


def test_a_slow_client_holds_none_of_the_slots():
    with (
        bounded(at_once=1, patience_s=0.0, request_s=10.0) as (server, _),
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        slow.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        assert call(server.port, "POST", "/predict", b"image")[0] == 200


def test_beyond_so_many_connections_callers_are_asked_to_come_back():
    with bounded(connections=1) as (server, _):
        with socket.create_connection(("127.0.0.1", server.port)) as first:
            first.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert first.recv(12) == b"HTTP/1.1 200"
            assert talk(server.port).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After")
        for _ in range(200):
            answer = talk(server.port, b"GET /healthz HTTP/1.0\r\n\r\n")
            if answer.startswith(b"HTTP/1.1 200"):
                break
        assert answer.startswith(b"HTTP/1.1 200")


def test_bodies_have_a_bound_for_all_together():
    with bounded(body_bytes=10) as (server, _):
        with socket.create_connection(("127.0.0.1", server.port)) as first:
            first.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 8\r\n\r\nab")
            first.sendall(b"c")
            status = 200
            while status == 200:
                status, problem, headers = call(server.port, "POST", "/predict", b"image")
            assert status == 503
            assert headers["Retry-After"] == "1"
            assert "too much" in problem["detail"]
            first.sendall(b"defgh")
            assert first.recv(12) == b"HTTP/1.1 200"
        assert call(server.port, "POST", "/predict", b"image")[0] == 200


def test_a_caller_who_waits_a_moment_gets_the_next_free_slot():
    with bounded(at_once=1, patience_s=10.0) as (server, stub):
        stub.gate.clear()
        answers: list[int] = []
        callers = [
            threading.Thread(
                target=lambda: answers.append(call(server.port, "POST", "/predict", b"x")[0])
            )
            for _ in range(3)
        ]
        for caller in callers:
            caller.start()
        stub.inside.acquire(timeout=10)
        stub.gate.set()
        for caller in callers:
            caller.join()

        assert answers == [200, 200, 200]


@pytest.mark.parametrize(
    "head", [b"Transfer-Encoding: chunked", b"Content-Length: 3\r\nContent-Encoding: gzip",
             b"Content-Length: 99999999999999999999"],
)  # fmt: skip
def test_bodies_of_unknown_length_or_encoded_are_refused(desk, head):
    server, _, _ = desk

    assert talk(server.port, b"POST /predict HTTP/1.1\r\n", head, b"\r\n\r\nabc").startswith(
        b"HTTP/1.1 411"
    )


def test_a_body_that_ends_early_is_said_so(desk):
    server, _, _ = desk
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"2 of 5 bytes" in answer


def test_a_body_that_is_too_big_is_refused_and_its_sender_can_read_why(desk):
    server, _, _ = desk
    status, problem, _ = call(server.port, "POST", "/predict", b"x" * (MOST_BYTES + 1))

    assert status == 413
    assert "20000000 bytes" in problem["detail"]


def test_a_bug_is_answered_500_and_the_slot_is_free_again(desk):
    server, stub, _ = desk
    stub.error = ZeroDivisionError()
    for _ in range(3):
        assert call(server.port, "POST", "/predict", b"x")[0] == 500
    stub.error = None

    assert call(server.port, "POST", "/predict", b"x")[0] == 200


def test_a_prediction_under_way_is_answered_before_the_server_is_closed():
    with bounded() as (server, stub):
        stub.gate.clear()
        answers: list[int] = []
        caller = threading.Thread(
            target=lambda: answers.append(call(server.port, "POST", "/predict", b"x")[0])
        )
        caller.start()
        stub.inside.acquire(timeout=10)
        threading.Timer(0.05, stub.gate.set).start()
        server.close()
        caller.join()

        assert answers == [200]
