"""The one error body: RFC 9457 problem details."""

from typing import Annotated

from pydantic import Field

from contract.base import Message


class FieldProblem(Message):
    """One bad field of a body: where it is and what to do about it."""

    field: str
    message: str


class Problem(Message):
    """``type`` names the kind of error, ``detail`` tells the caller what to do."""

    type: str
    title: str
    status: Annotated[int, Field(ge=100, le=599)]
    detail: str
    errors: tuple[FieldProblem, ...] = ()
