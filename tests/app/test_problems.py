import json

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app import problems
from app.examples import POLICY, PROFILE, REPORT_BATCH
from tests.app.world import Server, assert_problem

EVENT = REPORT_BATCH["summary"]["value"]["reports"][0]
REGISTRATION = {"serial": "s", "labels": {}, "profile": PROFILE}
HOSTILE = {
    "nan": "NaN",
    "infinity": "1e999",
    "surrogate": '"\\ud800"',
    "nul": '"a\\u0000b"',
    "huge": "1" + "0" * 30,
    "endless": "9" * 5000,
    "negative": "-1",
    "bool": "true",
    "null": "null",
    "deep": "[" * 3000 + "]" * 3000,
    "list": "[1]",
}
MARK = '"@"'


def replaced(value, path):
    """Return the JSON of ``value`` with a mark where ``path`` points."""
    copy = json.loads(json.dumps(value))
    where = copy
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = "@"
    return json.dumps(copy)


BODIES = [
    ("/v1/devices/register", REGISTRATION, ["serial"]),
    ("/v1/devices/register", REGISTRATION, ["labels", "line"]),
    ("/v1/devices/register", REGISTRATION, ["profile", "ram_total_bytes"]),
    ("/v1/devices/register", REGISTRATION, ["profile", "versions"]),
    ("/v1/device/reports", {"reports": [EVENT]}, ["reports", 0, "key"]),
    ("/v1/device/reports", {"reports": [EVENT]}, ["reports", 0, "sequence"]),
    ("/v1/device/reports", {"reports": [EVENT]}, ["reports", 0, "sent_at"]),
    ("/v1/device/reports", {"reports": [EVENT]}, ["reports", 0, "body", "kind"]),
    ("/v1/device/reports", {"reports": [EVENT]}, ["reports", 0, "body", "counts", "ok"]),
    ("/v1/policies", {"name": "x", **POLICY}, ["name"]),
    ("/v1/policies", {"name": "x", **POLICY}, ["accuracy_floor"]),
    ("/v1/policies", {"name": "x", **POLICY}, ["max_latency_ms"]),
    ("/v1/policies", {"name": "x", **POLICY}, ["reserve_bytes"]),
    ("/v1/policies", {"name": "x", **POLICY}, ["selector"]),
]


def token_for(server: Server, path: str) -> str:
    if path == "/v1/device/reports":
        return server.box().token
    if path == "/v1/devices/register":
        return server.token("enrol", uses=100)
    return server.operator_token


@pytest.mark.parametrize(("path", "body", "where"), BODIES)
def test_no_hostile_value_makes_the_server_fail(server: Server, path, body, where):
    headers = {
        "Authorization": f"Bearer {token_for(server, path)}",
        "Content-Type": "application/json",
    }
    for hostile in HOSTILE.values():
        content = replaced(body, where).replace(MARK, hostile)
        answer = server.client.post(path, content=content, headers=headers)
        assert answer.status_code in {200, 201, 422}, (hostile[:20], answer.text)
        if answer.status_code == 422:
            assert answer.headers["content-type"] == "application/problem+json"
            json.loads(answer.content)


def test_a_body_that_is_no_json_is_422(server: Server):
    box = server.box()
    for path, headers in (("/v1/device/reports", box.headers), ("/v1/policies", server.operator)):
        with_type = {**headers, "Content-Type": "application/json"}
        for content in ("", "{", "[]", "null", "\x00", "@" * 5000):
            answer = server.client.post(path, content=content, headers=with_type)
            assert_problem(answer, 422, "invalid-input")


def test_a_body_in_another_encoding_is_422(server: Server):
    headers = {**server.operator, "Content-Type": "application/json"}
    answer = server.client.post("/v1/policies", content=b"\xff\xfe\x00", headers=headers)
    assert_problem(answer, 422, "invalid-input")


BAD_ADDRESSES = [
    "/v1/devices?limit=-1",
    "/v1/devices?limit=0",
    "/v1/devices?limit=201",
    "/v1/devices?limit=99999999999999999999999",
    "/v1/devices?limit=NaN",
    "/v1/devices?cursor=%00",
    "/v1/devices?cursor=" + "x" * 500,
    "/v1/devices/%00",
    "/v1/decisions/%01",
    "/v1/releases/0",
    "/v1/releases/99999999999999999999",
    "/v1/releases/abc",
    "/v1/policies/%00",
    "/v1/releases?cursor=99999999999999999999",
    "/v1/releases?cursor=-1",
    "/v1/frontier?variant=%00",
]


def test_bad_addresses_are_422(server: Server):
    for path in BAD_ADDRESSES:
        answer = server.client.get(path, headers=server.operator)
        assert_problem(answer, 422, "invalid-input")


def test_a_lone_surrogate_in_an_address_makes_no_server_fail(server: Server):
    for path in ("/v1/devices?cursor=%ED%A0%80", "/v1/devices/%ED%A0%80"):
        answer = server.client.get(path, headers=server.operator)
        assert answer.status_code in {200, 404, 422}, answer.text


def test_an_unknown_address_and_method_have_the_one_body_too(server: Server):
    assert_problem(server.client.get("/nowhere"), 404, "not-found")
    answer = server.client.delete("/v1/devices")
    assert_problem(answer, 405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]


def test_too_large_a_body_is_413_chunked_or_not(server: Server):
    size = server.settings.max_body_bytes + 1
    headers = {**server.box().headers, "Content-Type": "application/json"}
    whole = server.client.post("/v1/device/reports", content=b" " * size, headers=headers)
    assert whole.status_code == 413
    chunks = (b" " * 65536 for _ in range(size // 65536 + 2))
    chunked = server.client.post("/v1/device/reports", content=chunks, headers=headers)
    for answer in (whole, chunked):
        assert_problem(answer, 413, "too-large")


def test_what_was_sent_is_never_echoed(server: Server):
    sent = "canary-value"
    content = {"name": "x", **POLICY, "accuracy_floor": sent, "fallback": sent}
    answer = server.post("/v1/policies", content)
    assert_problem(answer, 422, "invalid-input")
    assert sent not in answer.text


def test_a_server_that_fails_says_nothing_of_why():
    app = FastAPI()
    problems.install(app)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("canary-value")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    assert_problem(answer, 500, "internal")
    assert "canary-value" not in answer.text


def test_a_database_that_does_not_answer_is_503_with_retry_after():
    app = FastAPI()
    problems.install(app)

    @app.get("/busy")
    async def busy() -> None:
        raise OperationalError("SELECT", {}, RuntimeError("locked"))

    with TestClient(app) as client:
        answer = client.get("/busy")
    assert_problem(answer, 503, "busy")
    assert int(answer.headers["Retry-After"]) > 0
