"""The server of the nursery: a simulated fleet, in a process of its own, behind a real socket."""

import contextlib
import hashlib
import http.client
import json
import os
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2

from contract.report import Report
from tests.device_agent.fleet import FleetSim, point, tiny_model

OLD, NEW, FACTORY = "xcep-old", "xcep-new", "xcep-factory"
BYTES = {name: tiny_model(bias) for bias, name in enumerate((OLD, NEW, FACTORY))}
SHA = {name: hashlib.sha256(data).hexdigest() for name, data in BYTES.items()}


class TwoModels(FleetSim):
    """A fleet whose networks differ in their bytes, so that a mixture shows."""

    def current(self):
        state = super().current()
        if state.assignment is None:
            return state
        made = state.assignment.variant
        data = BYTES[made.name]
        facts = {"sha256": SHA[made.name], "length_bytes": len(data)}
        made = made.model_copy(update={"inference": made.inference.model_copy(update=facts)})
        assignment = state.assignment.model_copy(update={"variant": made})
        return state.model_copy(update={"assignment": assignment})

    def _other(self, request, body):
        wanted = request.url.path.rsplit("/", 1)[-1]
        for name, sha256 in SHA.items():
            if wanted == sha256:
                return httpx2.Response(200, content=BYTES[name])
        return super()._other(request, body)


class Desk(BaseHTTPRequestHandler):
    """The fleet behind a socket. ``/control/orders`` and ``/control/facts`` are the nursery's."""

    fleet = TwoModels()

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/control/"):
            return self.reply(200, {}, json.dumps(self.control(body)).encode())
        headers = {k: v for k, v in self.headers.items() if k.lower() != "content-length"}
        request = httpx2.Request(
            self.command, f"http://fleet{self.path}", content=body, headers=headers
        )
        response = type(self).fleet.handle_request(request)
        return self.reply(response.status_code, response.headers, b"".join(response.stream))

    def control(self, body):
        if self.path == "/control/facts":
            return [report.model_dump(mode="json") for report in type(self).fleet.received]
        name = json.loads(body)
        if name == OLD:
            type(self).fleet = TwoModels()
        type(self).fleet.points = [point(name)]
        type(self).fleet.generation += 1
        return None

    def reply(self, status, headers, content):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for key, value in headers.items():
                if key.lower() not in {"content-length", "transfer-encoding"}:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 - the library's names

    def log_message(self, *_):
        """Say nothing."""


@dataclass
class Server:
    """The other process, and what the nursery asks of it."""

    pid: int
    port: int

    def ask(self, path, value=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", f"/control/{path}", json.dumps(value))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def reports(self):
        return [Report.model_validate(raw) for raw in self.ask("facts")]


def start_server():
    listening = HTTPServer(("127.0.0.1", 0), Desk)
    pid = os.fork()
    if pid == 0:
        listening.serve_forever()
    listening.server_close()
    return Server(pid, listening.server_address[1])
