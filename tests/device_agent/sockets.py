"""Real servers on real sockets: one that records every byte, and some that never answer in time."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.device_agent.fleet import cloud_prediction


class Recorder(ThreadingHTTPServer):
    """Keeps every byte that any connection sends, and answers inference as the cloud does.

    ``status`` and ``headers`` are what the next answers carry.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.requests: list[str] = []
        self.connections = 0
        self.status = 200
        self.headers: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self) -> bytes:
        return b"".join(self.received)

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received += [self.raw_requestline, bytes(self.headers), body]
        self.server.requests.append(self.path)
        answer = json.dumps(cloud_prediction()).encode()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Listener:
    """Accepts connections and does with each what ``serve`` does; counts them."""

    def __init__(self, serve: Callable[[socket.socket, threading.Event], None]) -> None:
        self._serve = serve
        self._closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.arrived = threading.Semaphore(0)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                self.arrived.release()
                thread = threading.Thread(target=self._handle, args=(connection,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection, self._closing)

    def close(self) -> None:
        self._closing.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()


def swallow(connection: socket.socket, closing: threading.Event) -> None:
    """Take everything and say nothing."""
    connection.settimeout(0.05)
    while not closing.is_set():
        with contextlib.suppress(TimeoutError):
            if not connection.recv(65536):
                return


def drip(connection: socket.socket, closing: threading.Event) -> None:
    """Answer a byte now and then, so that no single read ever times out."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
        if closing.wait(0.01):
            return
        connection.sendall(bytes([byte]))


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[Listener]:
    listener = Listener(serve)
    try:
        yield listener
    finally:
        listener.close()
