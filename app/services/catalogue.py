"""Releases: loaded whole or not at all, found, retired."""

import hashlib
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from app.database import Transaction
from app.domain.release_check import contradictions
from app.errors import BadReleaseError, NoReleaseError, NotFoundError, RetiredError
from app.repositories import devices, releases
from app.store import ArtifactStore
from contract.release import Release

RELEASE_JSON_MAX_BYTES = 64 * 2**20


def read_release(folder: Path) -> Release:
    """Return the release in ``folder``; raises BadReleaseError with what to do."""
    path = folder / "release.json"
    try:
        if path.stat().st_size > RELEASE_JSON_MAX_BYTES:
            raise BadReleaseError(f"{path} is over {RELEASE_JSON_MAX_BYTES} bytes.")
        release = Release.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise BadReleaseError(f"Cannot read {path}: {exc.strerror}.") from exc
    except ValidationError as exc:
        raise BadReleaseError(f"{path} is not a release: {exc}") from exc
    wrong = contradictions(release)
    if wrong:
        raise BadReleaseError(" ".join(wrong))
    return release


def store_files(folder: Path, release: Release, store: ArtifactStore) -> None:
    """Copy every file in, its length and hash checked; nothing refers to them yet."""
    for sha256, artifact in sorted(release.artifacts().items()):
        store.add(folder / "files" / sha256, artifact)


def publish(tx: Transaction, release: Release, location: str, now: datetime) -> bool:
    """Make a release visible, all at once; False when this very release is there already.

    Raises BadReleaseError when another release has its number: a release never changes.
    """
    sha256 = hashlib.sha256(release.model_dump_json().encode()).hexdigest()
    known = releases.summary(tx, release.number)
    if known is not None and known.sha256 == sha256:
        return False
    if known is not None:
        raise BadReleaseError(
            f"Release {release.number} is loaded with other content. Releases never change: give "
            "this one a new number."
        )
    releases.add(tx, release, sha256, now)
    for artifact in release.artifacts().values():
        releases.add_artifact(tx, artifact, location, now)
    devices.touch_fleet(tx)
    return True


def retire(tx: Transaction, number: int, now: datetime) -> None:
    """Retire a release; boxes on it go to the newest that remains."""
    known = releases.summary(tx, number)
    if known is None:
        raise NotFoundError("release", number)
    if not releases.retire(tx, number, now):
        raise RetiredError("release", number)
    devices.touch_fleet(tx)


def release(tx: Transaction, number: int) -> Release:
    found = releases.find(tx, number)
    if found is None:
        raise NotFoundError("release", number)
    return found


def current_release(tx: Transaction) -> Release:
    """Return the newest release that is not retired; raises NoReleaseError."""
    found = releases.current(tx)
    if found is None:
        raise NoReleaseError
    return found
