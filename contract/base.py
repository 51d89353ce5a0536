"""Base classes and bounded scalar types for everything that crosses a wire.

Messages ignore unknown fields, so old agents meet new servers; operator input forbids them, so a
typo is an error. No value may be NaN or infinite (it would make every gate comparison false), no
integer may pass 63 bits (neither database stores more), no text may carry control characters.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Message(BaseModel):
    """A value on the wire: frozen, finite, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class OperatorInput(BaseModel):
    """A body that a person wrote: frozen, finite, and a field it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _printable(text: str) -> str:
    if _UNPRINTABLE.search(text):
        message = "control characters and lone surrogates are not allowed"
        raise ValueError(message)
    return text


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


Utc = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_printable)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(_printable)]
Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", strip_whitespace=True)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Positive = Annotated[int, Field(ge=1, le=2**53, strict=True)]
ByteCount = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
Milliseconds = Annotated[float, Field(ge=0.0, le=1e9)]
Labels = Annotated[dict[Label, Label], Field(max_length=32)]
