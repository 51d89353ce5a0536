"""The fleet's server on a real socket, with or without TLS, for what opens a connection itself."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

from tests.device_agent.fleet import FleetSim


def handler_of(fleet: FleetSim, clock_ahead_s: float):
    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self):
            length = int(self.headers.get("Content-Length", 0))
            request = httpx2.Request(
                self.command, f"http://fleet.test{self.path}",
                headers=dict(self.headers), content=self.rfile.read(length),
            )  # fmt: skip
            response = fleet.handle_request(request)
            body = b"".join(response.stream)
            self.send_response_only(response.status_code)
            for key, value in response.headers.items():
                self.send_header(key, value)
            self.send_header("Date", formatdate(time.time() + clock_ahead_s, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, *_):
            return

    return Relay


@contextmanager
def served(
    fleet: FleetSim,
    *,
    tls: ssl.SSLContext | None = None,
    clock_ahead_s: float = 0.0,
) -> Iterator[str]:
    """Yield the address of a server that answers as ``fleet`` does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(fleet, clock_ahead_s))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
