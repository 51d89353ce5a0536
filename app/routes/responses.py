"""How errors are described on the operators' page: the very errors that a route can raise.

Each route names its errors as the caller would meet them; the example bodies are made of them.
"""

from typing import Any

from app.bodies import PROBLEM_MEDIA_TYPE, as_problem, invalid_input
from app.errors import (
    BusyError,
    DatabaseFullError,
    FleetError,
    ForbiddenError,
    InvalidInputError,
    TooLargeError,
    UnauthenticatedError,
)

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
Responses = dict[int | str, dict[str, Any]]

BUSY = BusyError("The database did not answer in time.")
FULL = DatabaseFullError()
TOO_LARGE = TooLargeError("Bodies here have at most 1048576 bytes.")
TOO_LONG = "String should have at most 120 characters"
BAD_NAME = "String should match pattern '^[a-z0-9][a-z0-9._-]{0,79}$'"
BAD_PAGE = invalid_input(
    [{"loc": ("query", "limit"), "msg": "Input should be less than or equal to 200"}]
)
BAD_POLICY = invalid_input(
    [
        {"loc": ("body", "accuracy_floor"), "msg": "Input should be less than or equal to 1"},
        {"loc": ("body", "acuracy_step"), "msg": "Extra inputs are not permitted"},
    ]
)


def access(needed: str, *, other: str = "device") -> tuple[FleetError, ...]:
    """Return how a route that needs a token of kind ``needed`` refuses to let callers in."""
    return UnauthenticatedError(needed), ForbiddenError(other, needed)


def bad(place: str, name: str, message: str) -> InvalidInputError:
    """Return what a value at ``place`` (path, query, body) that is not valid is answered."""
    return invalid_input([{"loc": (place, name), "msg": message}])


def problems(*errors: FleetError) -> Responses:
    """Return the documented answers for ``errors``, one entry a status, one example a type."""
    found: dict[int, list[FleetError]] = {}
    for error in errors:
        found.setdefault(int(error.status), []).append(error)
    return {status: _described(same) for status, same in found.items()}


def _described(errors: list[FleetError]) -> dict[str, Any]:
    examples = {
        e.kind: {"summary": e.title, "value": as_problem(e).model_dump(mode="json")} for e in errors
    }
    content = {PROBLEM_MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": examples}}
    return {"description": "; or: ".join(e.title for e in errors), "content": content}
