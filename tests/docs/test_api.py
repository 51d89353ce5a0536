"""The list of routes is that of the server, and each asks for the token that the page names."""

import re

import pytest
from starlette.testclient import TestClient

from app import database
from app.main import create_app
from app.settings import Settings
from tests.docs.pages import REFERENCE, assert_holds, table

PAGE = REFERENCE / "api.md"
WORDS = {
    "operator": "operator",
    "device": "box",
    "enrol": "enrolment token",
    "device or operator": "box or operator",
}
A_REPORT = {
    "key": "k",
    "sequence": 0,
    "sent_at": "2026-01-01T00:00:00Z",
    "body": {"kind": "event", "name": "n"},
}
VALUES = {"sha256": "0" * 64, "number": "1"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("api"))
    engine = database.make_engine(settings.url)
    database.migrate(engine)
    engine.dispose()
    with TestClient(create_app(settings)) as found:
        yield found


def who_may_call(client, method, path):
    """Return whom a call without a token is told to be."""
    address = re.sub(r"\{(\w+)\}", lambda m: VALUES.get(m[1], "x"), path)
    body = {"reports": [A_REPORT]} if path.endswith("/reports") and method == "post" else None
    answer = client.request(method, address, json=body)
    if answer.status_code == 200:
        return "anybody"
    assert answer.status_code == 401, (method, path, answer.text)
    return WORDS[re.search(r"Bearer <(.+) token>", answer.json()["detail"])[1]]


def routes_table(client):
    paths = client.get("/openapi.json").json()["paths"]
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], who_may_call(client, method, path))
        for path, methods in sorted(paths.items())
        for method, operation in methods.items()
    ]
    return table(("route", "what it does", "who may call"), rows)


def test_every_route_is_on_the_page_with_who_may_call_it(client):
    assert_holds(PAGE, routes_table(client))
