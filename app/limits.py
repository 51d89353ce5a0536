"""How large a body may be, chunked or not: counted as it arrives, refused with the one error body.

FastAPI has such a limit, but answers in plain text.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.errors import TooLargeError

BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyLimit:
    """An ASGI middleware. ``limits`` names the paths that take other than ``default_bytes``."""

    def __init__(self, app: ASGIApp, *, default_bytes: int, limits: Mapping[str, int]) -> None:
        self.app = app
        self.default_bytes = default_bytes
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in BODILESS:
            return await self.app(scope, receive, send)
        limit = self.limits.get(scope["path"], self.default_bytes)
        if _announced_bytes(scope) > limit:
            refusal = problems.render(TooLargeError(f"Bodies here have at most {limit} bytes."))
            return await refusal(scope, receive, send)
        return await self.app(scope, _counting(receive, limit), send)


def _announced_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else 0  # noqa: PLR2004 - 63 bits
    return 0


def _counting(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return receive_counted
