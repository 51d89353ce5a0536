"""The local endpoint on 127.0.0.1: POST /predict, GET /healthz, GET /status, and OIP v2 (``/v2``).

For programs on the same box only: no authentication, no other address. Everything is bounded: at
most two predictions at once, of whom others wait a moment and are then told 503 with
``Retry-After``; so many connections; so many bytes of bodies at a time; and a request must be whole
soon after its first byte, else its connection is closed.
"""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from typing import Any

import structlog

from contract.inference import Prediction
from device_agent.errors import AgentError, BadAddressError, BadImageError
from device_agent.serving.answers import Answer, as_json, as_oip_error, as_problem
from device_agent.serving.deadlines import DeadlineReader
from device_agent.serving.images import MOST_BYTES
from device_agent.serving.oip_desk import ROOT, OipDesk
from device_agent.serving.predict import Predictor

log = structlog.get_logger()
_MOST_DRAINED_BYTES = 64_000_000
_PIECE_BYTES = 65_536
Wrong = Callable[[HTTPStatus, str], Answer]
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much at once, and how long. ``body_bytes`` is for all requests under way together."""

    at_once: int = 2
    connections: int = 32
    body_bytes: int = 2 * MOST_BYTES
    patience_s: float = 0.2
    idle_s: float = 30.0
    request_s: float = 15.0
    write_s: float = 30.0
    farewell_s: float = 5.0


class Allowance:
    """A sum that is handed out and given back. Thread-safe."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[bool]:
        """Yield whether ``amount`` was there; it is given back at the end."""
        with self._lock:
            taken = amount <= self._left
            self._left -= amount if taken else 0
        try:
            yield taken
        finally:
            with self._lock:
                self._left += amount if taken else 0


@dataclass(frozen=True)
class Desk:
    """What a request needs: how to predict, whom to tell, what to say of the box."""

    predictor: Predictor
    note: Callable[[Prediction], None]
    status: Callable[[], dict[str, Any]]
    bounds: Bounds
    slots: threading.BoundedSemaphore
    bodies: Allowance
    oip: OipDesk


class _Server(ThreadingHTTPServer):
    """A thread for a connection, and a bound on connections."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type["Handler"], connections: int) -> None:
        self._places = threading.BoundedSemaphore(connections)
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(_BUSY)
            return self.shutdown_request(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise
        return None

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        """Pass over a client that went away: that is no trouble of the box. A bug is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class LocalServer:
    """Serves until ``close``; ``port`` is the real one when 0 was asked for."""

    def __init__(
        self,
        port: int,
        predictor: Predictor,
        note: Callable[[Prediction], None],
        status: Callable[[], dict[str, Any]],
        bounds: Bounds | None = None,
    ) -> None:
        self._closed = False
        self._bounds = bounds or Bounds()
        self._slots = threading.BoundedSemaphore(self._bounds.at_once)
        bodies = Allowance(self._bounds.body_bytes)
        oip = OipDesk(predictor, note)
        desk = Desk(predictor, note, status, self._bounds, self._slots, bodies, oip)
        handler = type("DeskHandler", (Handler,), {"desk": desk})
        try:
            self._server = _Server(port, handler, self._bounds.connections)
        except OSError as exc:
            message = f"port {port} cannot be served ({exc.strerror}); choose another --serve-port"
            raise BadAddressError(message) from exc
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and let the predictions under way be answered. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        for _ in range(self._bounds.at_once):
            self._slots.acquire(timeout=self._bounds.farewell_s)


class Handler(BaseHTTPRequestHandler):
    """One connection. ``desk`` is set on the subclass that a server makes."""

    desk: Desk
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    # One write for an answer: head and body apart wait 40 ms for a delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        bounds = self.desk.bounds
        self._reader = DeadlineReader(
            self.connection, idle_s=bounds.idle_s, within_s=bounds.request_s
        )
        self.rfile = BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.begin()
        super().handle_one_request()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == ROOT or path.startswith(f"{ROOT}/"):
            return self._send(self.desk.oip.get(path))
        if path == "/healthz":
            return self._send(as_json({"status": "ok"}))
        if path == "/status":
            return self._send(as_json(self.desk.status()))
        text = "use POST /predict, GET /healthz or /status, or the Open Inference Protocol at /v2"
        return self._send(as_problem(HTTPStatus.NOT_FOUND, text))

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(f"{ROOT}/"):
            return self._with_body(lambda body: self._infer(path, body), as_oip_error)
        if path == "/predict":
            return self._with_body(self._predict, as_problem)
        return self._refuse(as_problem(HTTPStatus.NOT_FOUND, "POST images to /predict"))

    def _with_body(
        self,
        answer: Callable[[bytes], Answer],
        wrong: Wrong,
    ) -> None:
        """Read the body, wait a moment for one of the slots, answer."""
        length = self._length()
        if length is None:
            text = "send Content-Length and a body that is not encoded"
            return self._refuse(wrong(HTTPStatus.LENGTH_REQUIRED, text))
        if length > MOST_BYTES:
            text = f"a body may have {MOST_BYTES} bytes"
            return self._refuse(wrong(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text))
        with self.desk.bodies.take(length) as there:
            if not there:
                text = "too much is being sent at once"
                return self._refuse(wrong(HTTPStatus.SERVICE_UNAVAILABLE, text))
            try:
                body = self.rfile.read(length)
            except TimeoutError as exc:
                return self._refuse(wrong(HTTPStatus.REQUEST_TIMEOUT, str(exc)))
            return self._in_a_slot(body, length, answer, wrong)

    def _in_a_slot(
        self,
        body: bytes,
        length: int,
        answer: Callable[[bytes], Answer],
        wrong: Wrong,
    ) -> None:
        if len(body) < length:
            text = f"the body ended after {len(body)} of {length} bytes"
            return self._refuse(wrong(HTTPStatus.BAD_REQUEST, text))
        if not self.desk.slots.acquire(timeout=self.desk.bounds.patience_s):
            text = f"{self.desk.bounds.at_once} predictions are under way"
            return self._send(wrong(HTTPStatus.SERVICE_UNAVAILABLE, text))
        try:
            return self._send(self._whatever_happens(lambda: answer(body), wrong))
        finally:
            self.desk.slots.release()

    def _whatever_happens(self, answer: Callable[[], Answer], wrong: Wrong) -> Answer:
        """Return the answer, or 500 for a bug, which the log then holds: nobody is left waiting."""
        try:
            return answer()
        except Exception:
            log.exception("answer_failed", path=self.path.partition("?")[0][:200])
            text = "this is a bug of device_agent; its log says more"
            return wrong(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    def _length(self) -> int | None:
        length = self.headers.get("Content-Length", "")
        encoded = "Transfer-Encoding" in self.headers or "Content-Encoding" in self.headers
        plain = length.isascii() and length.isdecimal() and len(length) < 16  # noqa: PLR2004 - 64 bits
        return int(length) if plain and not encoded else None

    def _predict(self, image: bytes) -> Answer:
        try:
            prediction = self.desk.predictor.predict(image)
        except BadImageError as exc:
            return as_problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc))
        except AgentError as exc:
            return as_problem(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))
        self.desk.note(prediction)
        return as_json(prediction.model_dump(mode="json"))

    def _infer(self, path: str, body: bytes) -> Answer:
        head = self.headers.get("Inference-Header-Content-Length")
        if head is not None and not (head.isascii() and head.isdecimal() and len(head) < 16):  # noqa: PLR2004 - 64 bits
            text = "Inference-Header-Content-Length is no number"
            return as_oip_error(HTTPStatus.BAD_REQUEST, text)
        return self.desk.oip.infer(path, body, None if head is None else int(head))

    def _refuse(self, answer: Answer) -> None:
        """Answer before the body was read: the connection cannot be used again.

        What the client still sends is thrown away, up to a bound: closing on it would reset the
        connection, and the client would never read why.
        """
        self.close_connection = True
        self._send(answer)
        left = min(self._length() or 0, _MOST_DRAINED_BYTES)
        with contextlib.suppress(OSError):
            while left > 0 and (piece := self.rfile.read1(min(left, _PIECE_BYTES))):
                left -= len(piece)

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(self.desk.bounds.write_s)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: images and their names stay out of logs."""
