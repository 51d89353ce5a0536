"""Sizes as people write them (``256MB``, ``4GB``, ``1.5GiB``) to bytes and back.

kB, MB, GB are decimal (1 MB = 1,000,000 bytes), KiB, MiB, GiB binary; a bare number is bytes.
"""

import re

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SHAPE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]*)\s*", re.ASCII)
_LARGEST = 2**53


def parse_size(text: str) -> int:
    """Return bytes; raises ValueError with a message that shows how to write a size."""
    match = _SHAPE.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        message = f"{text!r} is no size: write it like 256MB, 4GB or 512MiB (1 MB = 1,000,000 B)"
        raise ValueError(message)
    value = round(float(match[1]) * _UNITS[match[2].lower()])
    if not 1 <= value <= _LARGEST:
        message = f"{text!r} is out of range: a size lies between 1 B and 9007 TB"
        raise ValueError(message)
    return value


def format_size(size_bytes: int | None) -> str:
    """Return ``176.0 MB`` for people; ``unknown`` for None."""
    if size_bytes is None:
        return "unknown"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size_bytes) >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"
