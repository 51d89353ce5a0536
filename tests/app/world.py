"""What the server's tests share: a server with its tokens, a box, and the one error check."""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.database import writing
from app.services import tokens
from app.settings import Settings
from contract.desired import DesiredState

MB = 1_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


def profile(**changes: Any) -> dict[str, Any]:
    """Return the profile of a box with 300 MB to train in."""
    return {
        "cpu": "test",
        "cores": 4,
        "ram_total_bytes": 4000 * MB,
        "ram_available_bytes": 3000 * MB,
        "swap_bytes": 0,
        "disk_free_bytes": 9000 * MB,
        "cgroup_limit_bytes": None,
        "operator_cap_bytes": 350 * MB,
        "agent_bytes": 50 * MB,
        "runtime_floor_bytes": 47 * MB,
        "benchmark_ms": 40.0,
        "versions": {"agent": "0.1.0"},
        "n_ok": 100,
        "n_defect": 50,
        **changes,
    }


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_problem(response: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    """Check the one error body on every route; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert body["type"] == f"urn:paretofleet:problem:{kind}"
    assert body["status"] == status
    assert body["detail"].endswith((".", "!"))
    return body


@dataclass
class Box:
    """A registered box, as its agent would speak for it."""

    client: TestClient
    device_id: str
    token: str
    sequence: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.token)

    def poll(self, etag: str | None = None) -> httpx2.Response:
        extra = {} if etag is None else {"If-None-Match": etag}
        return self.client.get("/v1/device/desired", headers={**self.headers, **extra})

    def desired(self) -> DesiredState:
        response = self.poll()
        assert response.status_code == 200, response.text
        return DesiredState.model_validate_json(response.content)

    def report(self, *bodies: dict[str, Any], key: str | None = None) -> httpx2.Response:
        return self.client.post(
            "/v1/device/reports",
            headers=self.headers,
            json={"reports": [self.envelope(body, key) for body in bodies]},
        )

    def envelope(self, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        sequence = next(self.sequence)
        return {
            "key": key or f"r-{sequence}",
            "sequence": sequence,
            "sent_at": "2026-01-01T00:00:00Z",
            "body": body,
        }


def outcome(state: DesiredState, status: str, **figures: Any) -> dict[str, Any]:
    """Return how an assignment ended."""
    return {
        "kind": "outcome",
        "generation": state.generation,
        "release_number": state.release_number,
        "point_key": state.assignment.point.key if state.assignment else None,
        "status": status,
        "reason": "",
        **figures,
    }


@dataclass
class Server:
    """The application under test, with an operator's token and its clock."""

    client: TestClient
    engine: Engine
    settings: Settings
    clock: Clock
    operator_token: str

    @property
    def operator(self) -> dict[str, str]:
        return bearer(self.operator_token)

    def token(self, kind: tokens.Kind, **options: Any) -> str:
        with writing(self.engine) as tx:
            return tokens.issue(tx, kind, now=self.clock(), **options)

    def register(self, serial: str, token: str, **changes: Any) -> httpx2.Response:
        labels = changes.pop("labels", {})
        body = {"serial": serial, "labels": labels, "profile": profile(**changes)}
        return self.client.post("/v1/devices/register", json=body, headers=bearer(token))

    def box(self, serial: str = "box-1", **changes: Any) -> Box:
        response = self.register(serial, self.token("enrol", uses=1), **changes)
        assert response.status_code == 200, response.text
        return Box(self.client, response.json()["device_id"], response.json()["token"])

    def get(self, path: str, **query: Any) -> httpx2.Response:
        return self.client.get(path, headers=self.operator, params=query)

    def post(self, path: str, body: Any = None) -> httpx2.Response:
        return self.client.post(path, headers=self.operator, json=body)
