"""Files of releases, whole or in ranges, named by their hash."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from app.deps import DeviceOrOperatorDep, RuntimeDep
from app.domain.byte_range import ByteRange, requested_range
from app.domain.desired import names_etag
from app.errors import NotFoundError, RangeNotSatisfiableError
from app.examples import fleet
from app.routes.parameters import ArtifactHash
from app.routes.responses import BUSY, access, bad, problems

CALLERS = "device or operator"
WEIGHTS = fleet.TINY.weights
BINARY = "application/octet-stream"
FILE = {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}}
TextHeader = Annotated[str | None, Header(max_length=1000)]

router = APIRouter(prefix="/v1/artifacts", tags=["boxes' calls"])


@router.get(
    "/{sha256}",
    summary="Download a file",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file", **FILE},
        206: {"description": "The range asked for", **FILE},
        304: {"description": "The caller has it"},
        **problems(
            *access(CALLERS, other="enrol"),
            NotFoundError("artifact", WEIGHTS.sha256),
            RangeNotSatisfiableError(WEIGHTS.length_bytes),
            bad("path", "sha256", "String should match pattern '^[0-9a-f]{64}$'"),
            BUSY,
        ),
    },
)
def get_artifact(
    caller: DeviceOrOperatorDep,
    runtime: RuntimeDep,
    sha256: ArtifactHash,
    range_header: Annotated[str | None, Header(alias="Range", max_length=1000)] = None,
    if_range: TextHeader = None,
    if_none_match: TextHeader = None,
) -> Response:
    """Send a file of a release. `Range` continues an interrupted download."""
    _ = caller
    length = runtime.store.length_bytes(sha256)
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if names_etag(if_none_match, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    part = requested_range(range_header, if_range, etag=etag, length_bytes=length)
    status = HTTPStatus.OK
    if part is not None:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{length}"
    part = part or ByteRange(start=0, stop=length)
    headers["Content-Length"] = str(part.stop - part.start)
    content = runtime.store.read(sha256, part.start, part.stop)
    return StreamingResponse(content, status, headers, media_type=BINARY)
