"""The model that a box is delivered with: an untouched network of a release folder.

It serves until the first update has succeeded, and whenever nothing newer is able to. How well it
does on this box's images is not known: nothing here was measured on them.
"""

from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from contract.release import Release, Variant
from device_agent.disk.files import is_whole_file
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import MODEL, Manifest, Shelf
from device_agent.errors import ArtifactError, BadReleaseError
from device_agent.loop.box import TryModel

log = structlog.get_logger()
POINT_KEY = "factory"
RELEASE_FILE = "release.json"
FILES_FOLDER = "files"
_MOST_RELEASE_BYTES = 32_000_000


def read_release(folder: Path) -> Release:
    """Return what a release folder states; raises BadReleaseError."""
    path = folder / RELEASE_FILE
    try:
        if path.stat().st_size > _MOST_RELEASE_BYTES:
            message = f"{path} is larger than {_MOST_RELEASE_BYTES} bytes"
            raise BadReleaseError(message)
        return Release.model_validate_json(path.read_bytes())
    except OSError as exc:
        message = f"{path} cannot be read ({exc.strerror}); name a release folder"
        raise BadReleaseError(message) from exc
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or RELEASE_FILE
        message = f"{path} is damaged: {where}: {first['msg']}"
        raise BadReleaseError(message) from exc


def find_variant(release: Release, name: str) -> Variant:
    """Return the variant called ``name``; raises BadReleaseError, which lists those there are."""
    try:
        return release.variant(name)
    except KeyError as exc:
        known = ", ".join(variant.name for variant in release.variants)
        message = f"release {release.number} has no variant {name!r}; it has {known}"
        raise BadReleaseError(message) from exc


def describe(release: Release, variant: Variant, made_at: datetime) -> Manifest:
    """Describe the untouched network as a model of unknown accuracy."""
    number, sha256 = release.number, variant.inference.sha256
    return Manifest(
        model_id=f"factory-r{number}-{variant.name[:60]}-{sha256[:12]}",
        variant=variant.name,
        classes=variant.classes,
        input_px=variant.spec.input_px,
        in_channels=variant.spec.in_channels,
        sha256=sha256,
        length_bytes=variant.inference.length_bytes,
        release_number=number,
        point_key=POINT_KEY,
        balanced_accuracy=None,
        n_test=0,
        data_key="none",
        artifacts=(),
        made_at=made_at,
    )


def install_factory(
    folder: Path, name: str, paths: StatePaths, try_model: TryModel, made_at: datetime
) -> Manifest:
    """Make a variant of a release folder the factory model; the caller holds the lock.

    Raises BadReleaseError where the folder is damaged or the network does not run here: then
    nothing has changed. An earlier factory model is cleared when the agent next clears up.
    """
    release = read_release(folder)
    variant = find_variant(release, name)
    source = folder / FILES_FOLDER / variant.inference.sha256
    _require_file(source, variant)
    manifest, shelf = describe(release, variant, made_at), Shelf(paths)
    trouble = try_model(source, manifest)
    if trouble is not None:
        message = f"the network {name} of {folder} does not run here: {trouble}"
        raise BadReleaseError(message)
    try:
        shelf.install(source, manifest)
    except ArtifactError as exc:
        message = f"{source} changed while it was copied: {exc}"
        raise BadReleaseError(message) from exc
    shelf.set_factory(manifest.model_id)
    log.info("factory_model_installed", model_id=manifest.model_id, file=MODEL)
    return manifest


def _require_file(source: Path, variant: Variant) -> None:
    promised = variant.inference
    try:
        whole = is_whole_file(source, promised.length_bytes, promised.sha256)
    except OSError as exc:
        message = f"{source}, the network of {variant.name}, cannot be read: {exc.strerror}"
        raise BadReleaseError(message) from exc
    if not whole:
        message = f"{source}, the network of {variant.name}, is damaged: copy the folder again"
        raise BadReleaseError(message)
