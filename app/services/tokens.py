"""Opaque bearer tokens: 256 random bits, stored as SHA-256; issuing them and knowing them."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from app.database import Transaction
from app.errors import ForbiddenError, UnauthenticatedError
from app.repositories import credentials
from app.tables import CredentialRow

Kind = Literal["enrol", "device", "operator"]
TOKEN_BYTES = 32
PREFIX = {"enrol": "pfe_", "device": "pfd_", "operator": "pfo_"}


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: the kind of token, its hash, and the box it belongs to, if any."""

    kind: str
    sha256: str
    device_id: str | None


def hash_of(token: str) -> str:
    """Return how a token is stored. Tokens are random, so a fast hash suffices."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def issue(
    tx: Transaction,
    kind: Kind,
    *,
    now: datetime,
    device_id: str | None = None,
    uses: int | None = None,
    expires_after: timedelta | None = None,
) -> str:
    """Store a new token's hash and return the token, which nobody can read again."""
    token = PREFIX[kind] + secrets.token_urlsafe(TOKEN_BYTES)
    credential = CredentialRow(
        sha256=hash_of(token),
        kind=kind,
        device_id=device_id,
        uses_left=uses,
        created_at=now,
        expires_at=None if expires_after is None else now + expires_after,
        revoked_at=None,
    )
    credentials.add(tx, credential)
    return token


def authenticate(
    tx: Transaction, token: str | None, needed: tuple[Kind, ...], now: datetime
) -> Caller:
    """Return who calls; raises UnauthenticatedError, or ForbiddenError for another kind."""
    names = " or ".join(needed)
    found = None if token is None else credentials.find(tx, hash_of(token))
    if found is None or not credentials.is_live(found, now):
        raise UnauthenticatedError(names)
    if found.kind not in needed:
        raise ForbiddenError(found.kind, names)
    return Caller(kind=found.kind, sha256=found.sha256, device_id=found.device_id)
