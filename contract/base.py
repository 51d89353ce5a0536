"""Base classes and bounded scalar types for everything that crosses a wire.

Messages ignore unknown fields, so old agents meet new servers; operator input forbids them, so a
typo is an error. No value may be NaN or infinite (it would make every gate comparison false), no
integer may pass 63 bits (neither database stores more), no text may carry control characters.
"""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

LABEL_LENGTH = 120
TEXT_LENGTH = 2000
LARGEST_COUNT = 2**53
"""Every JSON reader still holds it exactly."""
LARGEST_NUMBER = 2**31 - 1
"""What both databases hold in a plain integer column."""


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
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        message = "this moment lies outside the years 1 to 9999 in UTC"
        raise ValueError(message) from exc


Utc = Annotated[AwareDatetime, AfterValidator(_to_utc)]
Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH), AfterValidator(_printable)]
Label = Annotated[
    str, StringConstraints(min_length=1, max_length=LABEL_LENGTH), AfterValidator(_printable)
]
Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", strip_whitespace=True)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT, strict=True)]
Positive = Annotated[int, Field(ge=1, le=LARGEST_COUNT, strict=True)]
ByteCount = Annotated[int, Field(ge=0, le=LARGEST_COUNT, strict=True)]
SignedBytes = Annotated[int, Field(ge=-LARGEST_COUNT, le=LARGEST_COUNT)]
Generation = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Version = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
VersionOrNone = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
"""A version or a release number, or 0 where there is none."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
Milliseconds = Annotated[float, Field(ge=0.0, le=1e9)]
Labels = Annotated[dict[Label, Label], Field(max_length=32)]
