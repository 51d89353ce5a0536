"""Writes and checks a release folder: ``release.json`` beside ``files/<sha256>``.

A release is immutable: it is made in a temporary folder and renamed into place, so a stopped run
leaves nothing half-written, and an existing release is never overwritten. It trains and measures
nothing, and it does not sign.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from contract.release import Artifact, ArtifactKind, Release
from models.whole_folder import whole_folder

RELEASE_FILE = "release.json"
FILES_FOLDER = "files"


class ReleaseExistsError(RuntimeError):
    """A release folder is already there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} exists and a release is immutable: choose a new folder")
        self.folder = folder


class ReleaseBrokenError(RuntimeError):
    """A file of a release is missing or is not what its name says."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; fetch or build the release again")
        self.path = path


def describe_artifact(path: Path, kind: ArtifactKind) -> Artifact:
    """Return the content address of a file; raises OSError when it cannot be read."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(kind=kind, sha256=digest, length_bytes=len(content))


def write_release(folder: Path, release: Release, files: Iterable[Path]) -> None:
    """Write ``release`` and the files it names into ``folder``, which must not exist.

    ``files`` may hold more than is needed. Raises ReleaseExistsError, and ReleaseBrokenError when
    a file that the release names is not among them.
    """
    if folder.exists():
        raise ReleaseExistsError(folder)
    by_digest = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}
    with whole_folder(folder) as temporary:
        (temporary / FILES_FOLDER).mkdir()
        for digest in release.artifacts():
            if digest not in by_digest:
                raise ReleaseBrokenError(temporary / digest, "a file of the release was not given")
            shutil.copyfile(by_digest[digest], temporary / FILES_FOLDER / digest)
        text = json.dumps(release.model_dump(mode="json"), indent=1)
        (temporary / RELEASE_FILE).write_text(text + "\n")


def read_release(folder: Path) -> Release:
    """Read a release and check every file's length and SHA-256; raises ReleaseBrokenError."""
    path = folder / RELEASE_FILE
    if not path.is_file():
        raise ReleaseBrokenError(path, "there is no release here")
    try:
        release = Release.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise ReleaseBrokenError(path, f"it is not a release ({error})") from error
    for artifact in release.artifacts().values():
        _check(folder / FILES_FOLDER / artifact.sha256, artifact)
    return release


def _check(path: Path, artifact: Artifact) -> None:
    if not path.is_file():
        raise ReleaseBrokenError(path, "the file is missing")
    content = path.read_bytes()
    same = hashlib.sha256(content).hexdigest() == artifact.sha256
    if len(content) != artifact.length_bytes or not same:
        raise ReleaseBrokenError(path, "the content does not match its name")
