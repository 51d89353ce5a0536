import json
import re

import pytest
from fastapi.routing import iter_route_contexts
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from app.bodies import TYPE_PREFIX
from app.domain.policy_check import impossibilities
from app.domain.release_check import contradictions
from app.errors import FleetError, NotFoundError, UnauthenticatedError
from app.examples import POLICY_CREATE, POLICY_VERSION, REGISTRATION, REPORT_BATCH, fleet
from app.main import create_app
from app.openapi.answers import ANSWERS
from app.problems import render
from app.routes.docs import ASSETS, PAGE, STATIC
from app.routes.responses import BAD_POLICY, BUSY, problems
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


def test_every_error_is_described_as_a_problem_of_a_type_that_the_server_has(schema):
    known = {TYPE_PREFIX + kind.kind: kind for kind in kinds(FleetError)}
    for path, method, operation in operations(schema):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (path, method)
            for example in content["examples"].values():
                problem = Problem.model_validate(example["value"])
                kind = known[problem.type]
                assert problem.status == int(status) == kind.status
                assert problem.title == kind.title == example["summary"]
                assert problem.title in response["description"]


def kinds(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def test_an_error_example_is_what_the_server_renders():
    for error in (BUSY, BAD_POLICY, NotFoundError("policy", "x"), UnauthenticatedError("enrol")):
        (described,) = problems(error).values()
        (example,) = described["content"]["application/problem+json"]["examples"].values()
        assert example["value"] == json.loads(render(error).body)


@pytest.mark.parametrize(
    ("method", "path", "status", "types"),
    [
        ("post", "/v1/policies", "409", {"already-exists"}),
        ("post", "/v1/policies", "422", {"invalid-input", "impossible-policy"}),
        ("post", "/v1/policies/{name}/versions", "409", {"retired"}),
        ("post", "/v1/releases/{number}/retire", "409", {"retired"}),
        ("get", "/v1/frontier", "409", {"no-release"}),
        ("post", "/v1/devices/register", "409", {"serial-taken"}),
        ("post", "/v1/devices/register", "403", {"forbidden", "enrolment-used-up"}),
        ("post", "/v1/inference", "403", {"forbidden", "images-may-not-leave"}),
        ("get", "/readyz", "503", {"schema-out-of-date", "busy"}),
    ],
)
def test_a_route_names_the_errors_that_it_can_give(schema, method, path, status, types):
    content = schema["paths"][path][method]["responses"][status]["content"]
    assert content["application/problem+json"]["examples"].keys() == types


def test_the_routes_that_store_something_and_no_others_tell_of_a_full_database(schema):
    named = {
        (method, path)
        for path, method, operation in operations(schema)
        if "database-full" in errors_of(operation, "503")
    }
    storing = {
        (method, path)
        for path, method, _ in operations(schema)
        if method == "post" and path != "/v1/inference"
    }
    assert named == storing | {("get", "/v1/device/desired")}
    for path, method, operation in operations(schema):
        if (method, path) in named:
            assert errors_of(operation, "503") == {"busy", "database-full"}


def errors_of(operation, status):
    content = operation["responses"].get(status, {}).get("content", {})
    return content.get("application/problem+json", {}).get("examples", {}).keys()


def test_a_validation_example_names_fields(schema):
    for _, _, operation in operations(schema):
        content = operation["responses"].get("422", {}).get("content", {})
        for example in content.get("application/problem+json", {}).get("examples", {}).values():
            assert example["value"]["errors"]


def test_every_json_answer_has_a_sentence_and_an_example_that_its_route_could_give(client, schema):
    models = response_models(client.app.routes)
    for path, method, operation in operations(schema):
        for response in operation["responses"].values():
            assert response["description"] != "Successful Response", (path, method)
        answer = next(r for s, r in operation["responses"].items() if s in {"200", "201"})
        if "application/json" not in answer["content"]:
            assert path == "/v1/artifacts/{sha256}"
            continue
        example = answer["content"]["application/json"]["example"]
        adapter = TypeAdapter(models[method, path])
        read = adapter.validate_json(json.dumps(example))
        assert adapter.dump_python(read, mode="json") == example, (path, method)


def response_models(routes):
    return {
        (method.lower(), context.path): context.response_model
        for context in iter_route_contexts(routes)
        for method in context.methods or ()
        if hasattr(context, "response_model")
    }


def test_no_answer_is_worked_out_for_a_route_that_is_not_there(schema):
    found = {f"{method} {path}" for path, method, _ in operations(schema)}
    assert found - ANSWERS.keys() == {"get /v1/artifacts/{sha256}"}
    assert ANSWERS.keys() <= found


def test_optional_parameters_are_shown_as_what_they_are(schema):
    for path, method, operation in operations(schema):
        for parameter in operation.get("parameters", []):
            assert parameter["schema"]["type"] in {"string", "integer"}, (path, method)
            assert "anyOf" not in parameter["schema"]


def test_the_worked_release_is_one_that_the_server_would_take():
    assert contradictions(fleet.RELEASE) == ()
    assert impossibilities(fleet.POLICY, fleet.POINTS) == ()


def test_the_worked_decision_takes_one_point_and_says_why_not_the_others():
    decision = fleet.decision()
    assert decision.chosen == fleet.CHOSEN
    failed = [f.constraint for v in decision.verdicts for f in v.failures]
    assert failed == ["accuracy_floor", "memory"]


def test_the_introduction_names_the_policy_that_is_there_from_the_start(schema):
    assert "`default` selects every box" in schema["info"]["description"]


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
