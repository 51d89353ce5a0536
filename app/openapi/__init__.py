"""The OpenAPI document: what FastAPI derives, the one error body, and worked answers.

It describes; what a route does and which errors it can give is said in the route.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.openapi.answers import ANSWERS, Answer
from contract.problem import Problem
from contract.report import ReportBatch

DESCRIPTION = """
Paretofleet picks, for every inspection box, the Pareto-optimal way to train and run within its
memory and above your accuracy floor.

1. Make an operator token: `paretofleet token operator`, press **Authorize** and paste it.
2. Load a release: `paretofleet release load DIR`, look at it under *releases*.
3. A box follows a policy from its first poll: `default` selects every box, at the lowest priority.
   Change it or add your own under *policies*; boxes follow at their next poll.
4. Give a box an enrolment token (`paretofleet token enrol`), watch it under *boxes*, and read why
   it got what it got under *decisions*.

Every error is one body, `application/problem+json` (RFC 9457).
"""
_SUCCESS = ("200", "201")
TAGS = [
    {"name": "boxes", "description": "Boxes as they report themselves, and what they should be."},
    {"name": "decisions", "description": "Why a box got what it got: a verdict on every point."},
    {"name": "policies", "description": "Floors, ceilings and privacy, by label. Versioned."},
    {"name": "releases", "description": "Variants and their measured frontier. Immutable."},
    {"name": "inference", "description": "Cloud inference, for boxes whose policy allows it."},
    {"name": "boxes' calls", "description": "What the agent calls: register, poll, check in."},
    {"name": "health", "description": "For supervisors and load balancers. No token needed."},
]


def install(app: FastAPI) -> None:
    """Make the application produce the document, once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
    )
    components = schema["components"]["schemas"]
    for model in (Problem, ReportBatch):
        described = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update({**described.pop("$defs", {}), model.__name__: described})
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _simplify_parameters(operation)
            _describe_success(operation, ANSWERS.get(f"{method} {path}"))
    return schema


def _simplify_parameters(operation: dict[str, Any]) -> None:
    """Show an optional parameter as what it is when it is there; absent is not a value."""
    for parameter in operation.get("parameters", []):
        present = [k for k in parameter["schema"].get("anyOf", []) if k != {"type": "null"}]
        if len(present) == 1:
            del parameter["schema"]["anyOf"]
            parameter["schema"] |= present[0]


def _describe_success(operation: dict[str, Any], answer: Answer | None) -> None:
    """Put the sentence and the worked example where the answer is JSON; files keep theirs."""
    if answer is None:
        return
    (response,) = (operation["responses"].get(s) for s in _SUCCESS if s in operation["responses"])
    response["description"] = answer.description
    response["content"]["application/json"]["example"] = answer.example().model_dump(mode="json")
