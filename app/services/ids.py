"""Names for new rows: sorted by time, unguessable, the same on every database."""

import secrets
from datetime import datetime

RANDOM_BYTES = 8


def new_id(prefix: str, now: datetime) -> str:
    """Return ``<prefix>-<12 hex digits of milliseconds><16 random hex digits>``."""
    milliseconds = int(now.timestamp() * 1000)
    return f"{prefix}-{milliseconds:012x}{secrets.token_hex(RANDOM_BYTES)}"
