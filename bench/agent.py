"""What the agent costs a box: ``python bench/agent.py`` prints JSON with its conditions.

Idle RSS and poll cost of a real agent process against a real socket, time from start to the first
prediction, and the size of what a box installs. It trains nothing.
"""

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_POLLS = 200
_STARTS = 5
_IDLE = """
import sys, time
from device_agent.assemble import open_agent
from device_agent.log import configure_logging
from device_agent.settings import AgentSettings
import device_agent.cli
configure_logging()
settings = AgentSettings(server=sys.argv[1], state=sys.argv[2], enrol_token="t", name="bench")
with open_agent(settings) as agent:
    agent.cycle()
    before = time.process_time()
    for _ in range(int(sys.argv[3])):
        agent.box.client.desired(agent.state.etag)
    spent = time.process_time() - before
    status = open("/proc/self/status").read().splitlines()
    kib = {l.split(":")[0]: l.split()[1] for l in status if l.startswith(("VmRSS", "RssAnon"))}
    rss, anonymous = (int(kib[name]) * 1024 for name in ("VmRSS", "RssAnon"))
    print(rss, anonymous, spent / int(sys.argv[3]) * 1000)
"""
_DESIRED = {
    "generation": 1, "action": "idle", "release_number": 0, "decision_id": None,
    "assignment": None, "accuracy_floor": 0.5, "fallback": "never", "images_may_leave": False,
    "why": "bench", "next_better": "",
}  # fmt: skip


class _Fleet(BaseHTTPRequestHandler):
    """Answers an agent as a server with no release would."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a poll: 304 to who knows the tag."""
        if self.headers.get("If-None-Match") == '"1"':
            return self._answer(304, b"")
        return self._answer(200, json.dumps(_DESIRED).encode())

    def do_POST(self) -> None:
        """Register, or take reports."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("register"):
            answer: dict[str, Any] = {"device_id": "bench", "token": "bench"}
        else:
            keys = [report["key"] for report in json.loads(body)["reports"]]
            answer = {"receipts": [{"key": key, "status": "stored"} for key in keys]}
        self._answer(200, json.dumps(answer).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def idle() -> dict[str, float]:
    """Return RSS and CPU per poll of an agent that has enrolled and has nothing to do."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fleet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with TemporaryDirectory() as state:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        answer = _python(_IDLE, url, state, str(_POLLS))
    server.shutdown()
    rss, anonymous, poll_ms = answer.split()[-3:]
    return {
        "idle_rss_bytes": int(rss),
        "idle_anonymous_bytes": int(anonymous),
        "poll_cpu_ms": round(float(poll_ms), 3),
    }


def start_to_prediction_s() -> float | None:
    """Return the median seconds of ``device_agent predict`` on the box named by PARETOFLEET_BOX.

    That is a state directory with an active model; None without one (and without an image in
    PARETOFLEET_IMAGE).
    """
    state, image = os.environ.get("PARETOFLEET_BOX"), os.environ.get("PARETOFLEET_IMAGE")
    if state is None or image is None:
        return None
    times = []
    for _ in range(_STARTS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "device_agent", "predict", "--state", state, image]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own program
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)


def install_bytes() -> int:
    """Return the bytes of the ``agent`` extra with everything that it pulls in."""
    own = importlib.metadata.requires("paretofleet") or []
    wanted = [r for r in own if "extra ==" not in r or re.search(r"""extra == ['"]agent['"]""", r)]
    return sum(_size(name) for name in _closure([_bare(r) for r in wanted]))


def _closure(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        plain = [r for r in requires if "extra ==" not in r]
        waiting += [_bare(r) for r in plain]
    return found


def _bare(requirement: str) -> str:
    """Return the name at the start of a requirement such as ``rich[x]>=1; python_version>'3'``."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]


def _size(name: str) -> int:
    files = importlib.metadata.files(name) or []
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - our own program
        command, check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout


def main() -> None:
    """Measure and print."""
    facts = {
        **idle(),
        "start_to_first_prediction_s": start_to_prediction_s(),
        "install_bytes": install_bytes(),
        "polls": _POLLS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
