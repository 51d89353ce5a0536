"""What the local endpoint answers: JSON, a problem (RFC 9457), or an error as OIP words it."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from contract.problem import Problem

RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Answer:
    """One answer over HTTP, whole."""

    status: HTTPStatus
    body: bytes
    media: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, json.dumps(value).encode(), headers=_come_back(status))


def as_problem(status: HTTPStatus, detail: str) -> Answer:
    problem = Problem(type="about:blank", title=status.phrase, status=status, detail=detail)
    body = json.dumps(problem.model_dump()).encode()
    return Answer(status, body, "application/problem+json", _come_back(status))


def as_oip_error(status: HTTPStatus, text: str, **more: Any) -> Answer:  # noqa: ANN401 - JSON
    return as_json({**more, "error": text}, status)


def _come_back(status: HTTPStatus) -> dict[str, str]:
    busy = status == HTTPStatus.SERVICE_UNAVAILABLE
    return {"Retry-After": str(RETRY_AFTER_S)} if busy else {}
