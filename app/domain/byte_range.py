"""One byte range of a file, as RFC 9110 section 14 asks for it."""

import re
from dataclasses import dataclass

from app.errors import RangeNotSatisfiableError

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """Bytes ``start`` up to and without ``stop``."""

    start: int
    stop: int


def requested_range(
    range_header: str | None, if_range: str | None, *, etag: str, length_bytes: int
) -> ByteRange | None:
    """Return the range asked for, or None for the whole file.

    Headers that are malformed, ask for several ranges or name another version are ignored, as
    the RFC allows. Raises RangeNotSatisfiableError for a range outside the file.
    """
    if range_header is None or (if_range is not None and if_range != etag):
        return None
    match = _ONE_RANGE.fullmatch(range_header.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    return _resolve(match.group(1), match.group(2), length_bytes)


def _resolve(first: str, last: str, length_bytes: int) -> ByteRange | None:
    if first == "":
        start, stop = max(0, length_bytes - int(last)), length_bytes
    else:
        start = int(first)
        stop = length_bytes if last == "" else min(int(last) + 1, length_bytes)
        if last != "" and int(last) < start:
            return None
    if start >= length_bytes or start >= stop:
        raise RangeNotSatisfiableError(length_bytes)
    return ByteRange(start=start, stop=stop)
