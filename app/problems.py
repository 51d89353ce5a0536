"""Every error as one body: RFC 9457 problem details. The only place that renders errors.

What the caller sent is never echoed: NaN, 1e999 and lone surrogates cannot be encoded, and
secrets do not belong in answers.
"""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException as StarletteHTTPException

from app.bodies import PROBLEM_MEDIA_TYPE, TYPE_PREFIX, as_problem, invalid_input
from app.database import is_full
from app.errors import (
    BusyError,
    DatabaseFullError,
    FleetError,
    InvalidInputError,
    TooLargeError,
)
from contract.problem import Problem

log = structlog.get_logger()


def install(app: FastAPI) -> None:
    """Register the handlers of every kind of error."""
    app.add_exception_handler(FleetError, _fleet_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(OperationalError, _database_trouble)
    app.add_exception_handler(PoolTimeoutError, _database_trouble)
    app.add_exception_handler(Exception, _unexpected)


def render(error: FleetError) -> Response:
    """Return the answer for a named error."""
    return _answer(as_problem(error), error.headers)


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        problem.model_dump_json(),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=dict(headers or {}),
    )


async def _fleet_error(_request: Request, exc: Exception) -> Response:
    if not isinstance(exc, FleetError):
        raise exc
    return render(exc)


async def _invalid(_request: Request, exc: Exception) -> Response:
    if not isinstance(exc, RequestValidationError):
        raise exc
    return render(invalid_input(exc.errors()))


async def _http(_request: Request, exc: Exception) -> Response:
    """Render what the framework raises: unknown routes and methods, bodies it cannot take."""
    if not isinstance(exc, StarletteHTTPException):
        raise exc
    if exc.status_code == HTTPStatus.BAD_REQUEST:
        return render(InvalidInputError("The body cannot be read as JSON. Correct it."))
    if exc.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return render(TooLargeError("The body is too large. Send it in smaller parts."))
    status = HTTPStatus(exc.status_code)
    advice = {
        HTTPStatus.NOT_FOUND: "There is no such address. The addresses are listed at /docs.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take that method. See /docs.",
    }
    problem = Problem(
        type=TYPE_PREFIX + status.phrase.lower().replace(" ", "-"),
        title=status.phrase,
        status=status,
        detail=advice.get(status, status.description or status.phrase),
    )
    return _answer(problem, exc.headers)


async def _database_trouble(_request: Request, exc: Exception) -> Response:
    """Render what a read meets; it too needs room, where it sorts more than fits into memory."""
    log.warning("database_unavailable", error=type(exc).__name__)
    if is_full(exc):
        return render(DatabaseFullError())
    return render(BusyError("The database did not answer in time."))


async def _unexpected(_request: Request, exc: Exception) -> Response:
    log.error("unexpected_error", exc_info=exc)
    return render(FleetError("The server failed; its log says how. Try again later."))
