import json
import re

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from app.examples import POLICY_CREATE, POLICY_VERSION, REGISTRATION, REPORT_BATCH
from app.main import create_app
from app.routes.docs import ASSETS, PAGE, STATIC
from app.settings import Settings
from contract.device import Registration
from contract.policy import PolicyBody, PolicyCreate
from contract.problem import Problem
from contract.report import ReportBatch

PUBLIC = {("/healthz", "get"), ("/readyz", "get")}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = Settings(data_dir=tmp_path_factory.mktemp("docs"))
    with TestClient(create_app(settings)) as found:
        yield found


@pytest.fixture(scope="module")
def schema(client):
    return client.get("/openapi.json").json()


def operations(schema):
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_page_and_its_assets_come_from_here_alone(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:https?:)?//", PAGE)
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        asset = client.get(address)
        assert asset.status_code == 200, address
        assert asset.headers["content-type"].partition(";")[0] == ASSETS[address.split("/")[-1]]
    assert not re.findall(r"(?:https?:)?//", (STATIC / "start.js").read_text())


def test_the_licence_of_what_we_ship_is_shipped_with_it():
    assert "Apache License" in (STATIC / "LICENSE").read_text()


def test_the_page_can_be_switched_off(tmp_path):
    settings = Settings(data_dir=tmp_path, docs_enabled=False)
    with TestClient(create_app(settings)) as client:
        for path in ("/docs", "/openapi.json", "/docs/assets/start.js"):
            assert client.get(path).status_code == 404


def test_every_operation_has_a_summary_a_description_and_a_described_tag(schema):
    tags = {tag["name"] for tag in schema["tags"] if tag["description"]}
    for path, method, operation in operations(schema):
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        assert set(operation["tags"]) <= tags
        assert len(operation["tags"]) == 1, (path, method)


def test_every_operation_but_health_asks_for_a_bearer_token(schema):
    assert schema["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    for path, method, operation in operations(schema):
        wanted = [] if (path, method) in PUBLIC else [{"Bearer": []}]
        assert operation.get("security", []) == wanted, (path, method)
        if wanted:
            assert {"401", "403"} <= set(operation["responses"])


def test_every_error_is_described_as_a_problem_with_a_valid_example(schema):
    for path, method, operation in operations(schema):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (path, method)
            example = Problem.model_validate(content["example"])
            assert example.status == int(status)


def test_every_reference_leads_somewhere(schema):
    components = schema["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)):
        assert name in components


def test_every_json_body_has_examples_and_each_is_valid(schema):
    known = {
        "Registration": (Registration, REGISTRATION),
        "ReportBatch": (ReportBatch, REPORT_BATCH),
        "PolicyCreate": (PolicyCreate, POLICY_CREATE),
        "PolicyBody": (PolicyBody, POLICY_VERSION),
    }
    seen = set()
    for _, _, operation in operations(schema):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            continue
        name = body["schema"]["$ref"].rpartition("/")[2]
        kind, examples = known[name]
        assert body["examples"].keys() == examples.keys()
        for example in body["examples"].values():
            TypeAdapter(kind).validate_python(example["value"])
        seen.add(name)
    assert seen == set(known)
