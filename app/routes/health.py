"""Whether the process lives, and whether it can work."""

from fastapi import APIRouter

from app.database import check_schema
from app.deps import RuntimeDep
from app.errors import SchemaOutOfDateError
from app.routes.responses import BUSY, problems
from contract.base import Message

router = APIRouter(tags=["health"])


class Health(Message):
    status: str


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answer without touching the database."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Can the server work?",
    responses=problems(SchemaOutOfDateError("0001", "0002"), BUSY),
)
def readyz(runtime: RuntimeDep) -> Health:
    """Answer 200 when the database is there and its schema is the one this program needs."""
    check_schema(runtime.engine)
    return Health(status="ok")
