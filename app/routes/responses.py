"""How errors are described on the operators' page: one entry per status that a route can give."""

from http import HTTPStatus
from typing import Any

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
Responses = dict[int | str, dict[str, Any]]

_DESCRIPTIONS: dict[int, tuple[str, str]] = {
    401: ("unauthenticated", "The bearer token is missing, unknown, expired or revoked"),
    403: ("forbidden", "The token is of another kind, or may not do that"),
    404: ("not-found", "There is no such thing"),
    409: ("conflict", "It clashes with what is there"),
    413: ("too-large", "The body is too large"),
    415: ("unsupported-image", "Not a PNG or JPEG image"),
    416: ("range-not-satisfiable", "The range lies outside the file"),
    422: ("invalid-input", "The request is not valid; `errors` says which fields and why"),
    503: ("busy", "The server is busy; try again after `Retry-After` seconds"),
}


def problems(*statuses: int) -> Responses:
    """Return the documented error answers for ``statuses``."""
    return {status: _described(status) for status in statuses}


def _described(status: int) -> dict[str, Any]:
    kind, text = _DESCRIPTIONS[status]
    example = {
        "type": f"urn:paretofleet:problem:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text + ".",
        "errors": [],
    }
    content = {"application/problem+json": {"schema": PROBLEM_SCHEMA, "example": example}}
    return {"description": text, "content": content}
