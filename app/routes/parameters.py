"""Path and query parameters, bounded: no integer that a database cannot hold, no control text."""

from typing import Annotated

from fastapi import Path, Query

from contract.base import Label, Name, Sha256

Limit = Annotated[int, Query(ge=1, le=200, description="Most items on one page")]
TextCursor = Annotated[Label | None, Query(description="`next_cursor` of the page before")]
NumberCursor = Annotated[
    int | None, Query(ge=0, le=2**63 - 1, description="`next_cursor` of the page before")
]
ReleaseCursor = Annotated[
    int | None, Query(ge=0, le=2**31 - 1, description="`next_cursor` of the page before")
]
ReleaseNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="The release's number")]
DeviceId = Annotated[Label, Path(description="The server's name for the box")]
DecisionId = Annotated[Label, Path(description="As `decision_id` in `GET /v1/devices`")]
PolicyName = Annotated[Name, Path(description="The policy's name")]
ArtifactHash = Annotated[Sha256, Path(description="SHA-256 of the file, 64 hex digits")]
VariantFilter = Annotated[Name | None, Query(description="Only this variant")]
TaskFilter = Annotated[Name | None, Query(description="Only this task")]
