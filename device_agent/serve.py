"""The local endpoint on 127.0.0.1: POST /predict, GET /healthz, GET /status.

For programs on the same box only: no authentication, no other address. At most two predictions at
once; a caller beyond that gets 503 with ``Retry-After``, never an unbounded queue.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contract.inference import Prediction
from contract.problem import Problem
from device_agent.errors import AgentError, BadAddressError, BadImageError
from device_agent.images import MOST_BYTES
from device_agent.predict import Predictor

_AT_ONCE = 2
_SOCKET_TIMEOUT_S = 30


@dataclass(frozen=True)
class Desk:
    """What a request needs: how to predict, whom to tell, what to say of the box."""

    predictor: Predictor
    note: Callable[[Prediction], None]
    status: Callable[[], dict[str, Any]]
    slots: threading.BoundedSemaphore


class LocalServer:
    """Serves until ``close``; ``port`` is the real one when 0 was asked for."""

    def __init__(
        self,
        port: int,
        predictor: Predictor,
        note: Callable[[Prediction], None],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        desk = Desk(predictor, note, status, threading.BoundedSemaphore(_AT_ONCE))
        handler = type("DeskHandler", (Handler,), {"desk": desk})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as exc:
            message = f"port {port} cannot be served ({exc.strerror}); choose another --serve-port"
            raise BadAddressError(message) from exc
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests under way are answered by their own threads."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request. ``desk`` is set on the subclass that a server makes."""

    desk: Desk
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_TIMEOUT_S
    # One write for an answer: head and body apart wait 40 ms for a delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path == "/healthz":
            return self._answer(HTTPStatus.OK, {"status": "ok"})
        if self.path == "/status":
            return self._answer(HTTPStatus.OK, self.desk.status())
        return self._problem(HTTPStatus.NOT_FOUND, "use POST /predict, GET /healthz or /status")

    def do_POST(self) -> None:
        if self.path != "/predict":
            return self._refuse(HTTPStatus.NOT_FOUND, "POST images to /predict")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal():
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "send Content-Length and one image")
        if int(length) > MOST_BYTES:
            text = f"an image may have {MOST_BYTES} bytes"
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        if not self.desk.slots.acquire(blocking=False):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "two predictions are under way")
        try:
            return self._predict(self.rfile.read(int(length)))
        finally:
            self.desk.slots.release()

    def _predict(self, image: bytes) -> None:
        try:
            prediction = self.desk.predictor.predict(image)
        except BadImageError as exc:
            return self._problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc))
        except AgentError as exc:
            return self._problem(HTTPStatus.SERVICE_UNAVAILABLE, str(exc))
        self.desk.note(prediction)
        return self._answer(HTTPStatus.OK, prediction.model_dump(mode="json"))

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer before the body was read: the connection cannot be used again."""
        self.close_connection = True
        self._problem(status, detail)

    def _problem(self, status: HTTPStatus, detail: str) -> None:
        problem = Problem(type="about:blank", title=status.phrase, status=status, detail=detail)
        self._answer(status, problem.model_dump(), media="application/problem+json")

    def _answer(
        self, status: HTTPStatus, body: dict[str, Any], media: str = "application/json"
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: images and their names stay out of logs."""
