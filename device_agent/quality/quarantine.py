"""Sets images aside, and puts them back: only when told to, and never so that one is lost.

The manifest is written before anything moves, so that whatever a crash leaves can be put back. The
second name (a copy, on another file system) is on disk before the first one goes. Nothing is ever
overwritten.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from contract.base import Message
from device_agent.disk.files import copy_durable, fsync_dir, named_disk_errors, write_atomic
from device_agent.errors import QuarantineError
from device_agent.quality.findings import Finding, Kind

MANIFEST = "quarantine.json"
CERTAIN: tuple[Kind, ...] = ("unreadable", "tiny", "across_split", "duplicate", "contradiction")
"""What is moved unless told otherwise: what needs no judgement. Looks and labels need a person."""


_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK}


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
        message = "a name must lie inside the folder"
        raise ValueError(message)
    return text


Inside = Annotated[str, AfterValidator(_inside)]


class Moved(Message):
    """One image: the folder it came from, its name in there, and its name in quarantine."""

    folder: Path
    name: Inside
    kept_as: Inside
    why: str


class Manifest(Message):
    """Everything that was set aside, oldest first."""

    moved: tuple[Moved, ...] = ()


def set_aside(findings: Iterable[Finding], target: Path) -> list[Moved]:
    """Move the images that ``findings`` are about into ``target``; return what was moved.

    An image with several findings moves once; one whose name is no UTF-8 stays, for no manifest
    could name it. Raises StateError, DiskFullError, QuarantineError.
    """
    known = read_manifest(target) if (target / MANIFEST).exists() else Manifest()
    taken = {entry.kept_as for entry in known.moved}
    planned: dict[Path, Moved] = {}
    for finding in findings:
        if finding.file.path not in planned and _is_text(finding.file.path):
            entry = _plan(finding, target, taken)
            planned[finding.file.path] = entry
            taken.add(entry.kept_as)
    if not planned:
        return []
    with named_disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    _write(target, Manifest(moved=(*known.moved, *planned.values())))
    for entry in planned.values():
        _move(entry.folder / entry.name, target / entry.kept_as)
    return list(planned.values())


def _is_text(path: Path) -> bool:
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _plan(finding: Finding, target: Path, taken: set[str]) -> Moved:
    path = finding.file.path.absolute()
    folder, name = path.parent.parent, f"{path.parent.name}/{path.name}"
    number, kept_as = 1, f"{finding.file.side}/{name}"
    while kept_as in taken or (target / kept_as).exists():
        number += 1
        kept_as = f"{finding.file.side}-{number}/{name}"
    return Moved(folder=folder, name=name, kept_as=kept_as, why=finding.why)


def put_back(target: Path) -> tuple[int, list[str]]:
    """Put everything back where it came from; return how many, and the names that stay.

    One stays where another image has taken its place meanwhile, or where it is gone from
    quarantine. Raises QuarantineError.
    """
    manifest = read_manifest(target)
    staying, n_back = [], 0
    for entry in manifest.moved:
        kept, home = target / entry.kept_as, entry.folder / entry.name
        if kept.exists() and (not home.exists() or kept.samefile(home)):
            _move(kept, home)
            n_back += 1
        elif kept.exists():
            staying.append(entry)
    if staying:
        _write(target, Manifest(moved=tuple(staying)))
    else:
        (target / MANIFEST).unlink()
    return n_back, [entry.kept_as for entry in staying]


def read_manifest(target: Path) -> Manifest:
    """Return what was set aside in ``target``; raises QuarantineError."""
    try:
        return Manifest.model_validate_json((target / MANIFEST).read_bytes())
    except (OSError, ValidationError) as exc:
        message = f"{target} is no quarantine: {MANIFEST} is absent or damaged"
        raise QuarantineError(message) from exc


def _write(target: Path, manifest: Manifest) -> None:
    write_atomic(target / MANIFEST, manifest.model_dump_json(indent=1).encode())


def _move(source: Path, target: Path) -> None:
    """Move one file and make it last. The target does not exist, or is the same file by now."""
    with named_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _link_or_copy(source, target)
        fsync_dir(target.parent)
        source.unlink()
        fsync_dir(source.parent)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        temporary = target.with_name(f".{target.name}.new")
        copy_durable(source, temporary)
        temporary.rename(target)
