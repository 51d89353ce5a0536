"""What a box costs: ``python bench/agent.py`` prints JSON with its conditions (about a minute).

It installs a box into a fresh environment, as the handbook says, and measures that one: idle RSS
and the CPU of a poll of a real agent process against a real socket, the time from start to the
first prediction, and the size on disk. It needs a package index, and trains nothing.
"""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_POLLS = 200
_STARTS = 5
_BLOCK_BYTES = 512
_STARTER = Path("releases/starter").resolve()
_SOURCE = (
    "pyproject.toml", "constraints.txt", "README.md", "contract", "models", "app", "device_agent",
    "alembic",
)  # fmt: skip
_WARM_UP = (["device_agent", "--help"], ["device_agent.machine.probe"], ["models", "floor"])
_NOT_ON_A_BOX = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV"}
_LIMITS = {
    "idle_rss_bytes": 65_000_000,
    "poll_cpu_ms": 5.0,
    "cycle_cpu_ms": 5.0,
    "start_to_first_prediction_s": 1.5,
    "install_disk_bytes": 200_000_000,
}
_IDLE = """
import sys, time
from device_agent.assemble import open_agent
from device_agent.log import configure_logging
from device_agent.settings import AgentSettings
import device_agent.cli
configure_logging()
settings = AgentSettings(server=sys.argv[1], state=sys.argv[2], enrol_token="t", name="bench")
polls = int(sys.argv[3])
with open_agent(settings) as agent:
    agent.cycle()
    started = time.process_time()
    for _ in range(polls):
        agent.box.client.desired(agent.state.etag)
    polled = time.process_time()
    for _ in range(polls):
        agent.cycle()
    cycled = time.process_time()
    status = open("/proc/self/status").read().splitlines()
    kib = {l.split(":")[0]: l.split()[1] for l in status if l.startswith(("VmRSS", "RssAnon"))}
    rss, anonymous = (int(kib[name]) * 1024 for name in ("VmRSS", "RssAnon"))
    print(rss, anonymous, (polled - started) / polls * 1000, (cycled - polled) / polls * 1000)
"""
_FIRST_BOX = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from PIL import Image
from contract.release import Release
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
starter, state, image = map(Path, sys.argv[1:])
release = Release.model_validate_json((starter / "release.json").read_bytes())
variant = release.variants[0]
point = next(p for p in release.points if p.variant == variant.name)
graph = variant.inference
paths = StatePaths(state)
paths.make()
manifest = Manifest(
    model_id="bench", variant=variant.name, classes=variant.classes,
    input_px=point.plan.input_px, in_channels=variant.spec.in_channels, sha256=graph.sha256,
    length_bytes=graph.length_bytes, release_number=1, point_key=point.key,
    balanced_accuracy=None, n_test=0, data_key="none", artifacts=(graph.sha256,),
    made_at=datetime.now(UTC),
)
shelf = Shelf(paths)
shelf.install(starter / "files" / graph.sha256, manifest)
shelf.activate("bench")
Image.new("RGB", (256, 256), (30, 90, 40)).save(image)
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


def idle(python: str) -> dict[str, float]:
    """Return RSS and CPU per poll of an agent that has enrolled and has nothing to do."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fleet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with TemporaryDirectory() as state:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        answer = _python(python, _IDLE, url, state, str(_POLLS))
    server.shutdown()
    rss, anonymous, poll_ms, cycle_ms = answer.split()[-4:]
    return {
        "idle_rss_bytes": int(rss),
        "idle_anonymous_bytes": int(anonymous),
        "poll_cpu_ms": round(float(poll_ms), 3),
        "cycle_cpu_ms": round(float(cycle_ms), 3),
    }


def start_to_prediction(python: str) -> dict[str, float]:
    """Return the median seconds of ``device_agent predict``, and its CPU, which load hardly moves.

    The box has the starter release's first variant active, as trained by the lab.
    """
    with TemporaryDirectory() as folder:
        state, image = Path(folder) / "state", Path(folder) / "image.png"
        _python(python, _FIRST_BOX, str(_STARTER), str(state), str(image))
        command = [python, "-m", "device_agent", "predict", "--json", "--state", str(state)]
        _run([*command, str(image)])
        times, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(_STARTS):
            start = time.perf_counter()
            _run([*command, str(image)])
            times.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "start_to_first_prediction_s": round(statistics.median(times), 3),
        "start_to_first_prediction_cpu_s": round(spent / _STARTS, 3),
    }


def install(folder: Path) -> str:
    """Install a box as ``docs/how-to/enrol-a-box.md`` says and return its interpreter.

    pip builds where the source lies, so the source is copied first.
    """
    source = folder / "source"
    for name in _SOURCE:
        found = Path(name)
        if found.is_dir():
            shutil.copytree(found, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, source / name)
    _run([sys.executable, "-m", "venv", str(folder / "box")])
    python = str(folder / "box/bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
    constraints = str(source / "constraints.txt")
    _run([*pip, "install", "--no-compile", "-c", constraints, f"{source}[agent]"])
    for module in _WARM_UP:
        _run([python, "-m", *module])
    _run([*pip, "uninstall", "-y", "setuptools", "pip"])
    return python


def install_size(folder: Path) -> dict[str, int]:
    """Return the bytes of a box's environment: in files, and in blocks on this disk."""
    files = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return {
        "install_bytes": sum(found.st_size for found in files),
        "install_disk_bytes": sum(found.st_blocks for found in files) * _BLOCK_BYTES,
    }


def _python(python: str, script: str, *arguments: str) -> str:
    return _run([python, "-c", script, *arguments])


def _run(command: list[str]) -> str:
    """Run our own program as a box would: compiled files are written, one thread."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_ON_A_BOX}
    done = subprocess.run(  # noqa: S603 - our own program
        command,
        check=True,
        capture_output=True,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
        cwd="/",
    )
    return done.stdout


def measure(python: str) -> dict[str, object]:
    """Return every figure of a box that runs by ``python``."""
    return {**idle(python), **start_to_prediction(python)}


def conditions() -> dict[str, object]:
    """Return what the figures depend on; the load average tells how disturbed they were."""
    return {
        "polls": _POLLS,
        "starts": _STARTS,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """Install a box, measure it and print."""
    load = conditions()
    with TemporaryDirectory() as folder:
        python = install(Path(folder))
        facts = {**measure(python), **install_size(Path(folder) / "box"), "limits": _LIMITS}
    sys.stdout.write(json.dumps({**facts, **load}, indent=1) + "\n")


if __name__ == "__main__":
    main()
