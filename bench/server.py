"""What a request costs: CPU per request of poll and check-in against a bare FastAPI no-op.

The fleet's server is `paretofleet serve` itself; both are real uvicorn processes in this run,
loaded over keep-alive sockets from this process; their own CPU time is read before and after.
Prints JSON with the conditions. Nothing is asserted here; budgets are printed beside figures.

Usage: python -m bench.server [--requests N] [--connections N] [--postgresql URL]
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from app import database
from app.database import writing
from app.examples import PROFILE, REPORT_BATCH
from app.services import enrolment, tokens
from contract.device import DeviceProfile, Registration

BUDGETS = {"poll_304": 2.0, "check_in_sqlite": 3.0, "check_in_postgresql": 3.5}
WARM_UP = 300
NO_OP = """
import sys
import uvicorn
from fastapi import FastAPI
app = FastAPI()

@app.get("/")
async def no_op() -> dict[str, str]:
    return {"status": "ok"}

uvicorn.run(
    app, port=int(sys.argv[2]), loop="asyncio", log_level="warning", access_log=False
)
"""
Request = Callable[[int], bytes]


@dataclass(frozen=True, kw_only=True)
class Load:
    requests: int
    connections: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    cpu_us: float
    requests_per_s: float
    p99_ms: float
    statuses: dict[str, int]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    program: Sequence[str], environment: dict[str, str]
) -> Iterator[tuple[int, psutil.Process]]:
    """Give a server's port and process once it answers; ``program`` takes ``--port``."""
    port = free_port()
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *program, "--port", str(port)], env={**os.environ, **environment}
    )
    try:
        _wait(port)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


async def _client(
    port: int, numbers: Iterator[int], request: Request, seen: list[tuple[str, float]]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        started_s = time.perf_counter()
        writer.write(request(number))
        head = await reader.readuntil(b"\r\n\r\n")
        length = _content_length(head)
        if length:
            await reader.readexactly(length)
        seen.append((head[9:12].decode(), time.perf_counter() - started_s))
    writer.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _drive(port: int, request: Request, load: Load, first: int) -> list[tuple[str, float]]:
    seen: list[tuple[str, float]] = []
    numbers = iter(range(first, first + load.requests))
    clients = [_client(port, numbers, request, seen) for _ in range(load.connections)]
    await asyncio.gather(*clients)
    return seen


NUMBERS = count()


def measure(port: int, process: psutil.Process, request: Request, load: Load) -> Figures:
    """Return the server's CPU per request under ``load``, after a warm-up."""
    start = next(NUMBERS) * 1_000_000
    asyncio.run(_drive(port, request, Load(requests=WARM_UP, connections=8), start))
    before, started_s = process.cpu_times(), time.perf_counter()
    seen = asyncio.run(_drive(port, request, load, start + WARM_UP))
    after, wall_s = process.cpu_times(), time.perf_counter() - started_s
    cpu_s = (after.user + after.system) - (before.user + before.system)
    statuses: dict[str, int] = {}
    for status, _ in seen:
        statuses[status] = statuses.get(status, 0) + 1
    latencies = sorted(latency for _, latency in seen)
    return Figures(
        cpu_us=1e6 * cpu_s / len(seen),
        requests_per_s=len(seen) / wall_s,
        p99_ms=1e3 * latencies[int(0.99 * (len(latencies) - 1))],
        statuses=statuses,
    )


def prepared(url: str, boxes: int) -> list[str]:
    """Return the tokens of that many boxes in a migrated database."""
    engine = database.make_engine(url)
    database.migrate(engine)
    now = datetime.now(UTC)
    with writing(engine) as tx:
        enrol = tokens.hash_of(tokens.issue(tx, "enrol", now=now, uses=boxes))
        profile = DeviceProfile.model_validate(PROFILE)
        found = [
            enrolment.register(
                tx, enrol, Registration(serial=f"bench-{now:%s}-{i}", profile=profile), now
            ).token
            for i in range(boxes)
        ]
    engine.dispose()
    return found


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: bench", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def poll_requests(port: int, found: list[str]) -> Request:
    """Return polls that know their state already."""
    ready = [_knowing_poll(port, token) for token in found]
    return lambda number: ready[number % len(ready)]


def _knowing_poll(port: int, token: str) -> bytes:
    authorization = f"Authorization: Bearer {token}"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(get("/v1/device/desired", authorization, "Connection: close"))
        head = b"".join(iter(lambda: connection.recv(65536), b"")).split(b"\r\n\r\n")[0]
    etag = next(
        line.partition(b":")[2].strip().decode()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"etag:")
    )
    return get("/v1/device/desired", authorization, f"If-None-Match: {etag}")


def check_in_requests(found: list[str]) -> Request:
    """Return check-ins of one hourly summary each, every one with a new key."""
    example: Any = REPORT_BATCH["summary"]["value"]
    (summary,) = example["reports"]

    def request(number: int) -> bytes:
        body = json.dumps(
            {"reports": [{**summary, "key": f"summary-{number}", "sequence": number}]}
        )
        head = (
            f"POST /v1/device/reports HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {found[number % len(found)]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return (head + body).encode()

    return request


def bench_fleet(name: str, url: str, folder: str, load: Load) -> dict[str, Figures]:
    """Return the figures of poll and check-in on one database."""
    found = prepared(url, boxes=200)
    environment = {"PARETOFLEET_DATABASE_URL": url, "PARETOFLEET_DATA_DIR": folder}
    with running(("-m", "app", "serve"), environment) as (port, process):
        polls = poll_requests(port, found)
        return {
            f"poll_304_{name}": measure(port, process, polls, load),
            f"check_in_{name}": measure(port, process, check_in_requests(found), load),
        }


def conditions(load: Load) -> dict[str, object]:
    packages = ("fastapi", "starlette", "uvicorn", "pydantic", "sqlalchemy", "psycopg")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "requests": load.requests,
        "connections": load.connections,
        "loop": "asyncio",
        "sqlite": "WAL, synchronous=FULL",
        "versions": {name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--postgresql", help="URL of an empty database that may be filled")
    chosen = parser.parse_args()
    load = Load(requests=chosen.requests, connections=chosen.connections)
    with tempfile.TemporaryDirectory(prefix="paretofleet-bench-") as folder:
        with running(("-c", NO_OP), {}) as (port, process):
            no_op = measure(port, process, lambda _: get("/"), load)
        figures = bench_fleet("sqlite", f"sqlite:///{Path(folder) / 'bench.db'}", folder, load)
        if chosen.postgresql:
            figures |= bench_fleet("postgresql", chosen.postgresql, folder, load)
    ratios = {name: round(found.cpu_us / no_op.cpu_us, 2) for name, found in figures.items()}
    everything = {name: vars(found) for name, found in {"no_op": no_op, **figures}.items()}
    report = {"conditions": conditions(load), "figures": everything, "ratios": ratios}
    print(json.dumps({**report, "budgets": BUDGETS}, indent=2))  # noqa: T201 - its only output


if __name__ == "__main__":
    main()
