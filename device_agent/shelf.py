"""The models that this box may serve: immutable folders, and a link that says which is active.

``models/<id>/`` holds ``model.onnx`` and ``manifest.json`` and is renamed into place whole. The
links ``active`` and ``previous`` are switched atomically; the previous one is the last known good.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from contract.base import ByteCount, Count, Fraction, Label, Message, Name, Sha256, Utc
from device_agent.errors import ArtifactError
from device_agent.files import (
    copy_durable,
    fsync_dir,
    named_disk_errors,
    point_link,
    sha256_of,
    write_atomic,
)
from device_agent.paths import StatePaths

MODEL = "model.onnx"
MANIFEST = "manifest.json"


class Manifest(Message):
    """Everything needed to serve a model and to judge the next one against it.

    ``data_key`` names the images that ``balanced_accuracy`` was measured on; ``artifacts`` the
    files that it was trained from, so that they stay in the cache.
    """

    model_id: Label
    variant: Name
    classes: tuple[Label, ...]
    input_px: Annotated[int, Field(ge=1, le=4096)]
    in_channels: Annotated[int, Field(ge=1, le=16)]
    sha256: Sha256
    length_bytes: ByteCount
    release_number: Count
    point_key: Label
    balanced_accuracy: Fraction
    n_test: Count
    data_key: Label
    artifacts: tuple[Sha256, ...]
    made_at: Utc


class Shelf:
    """Install, activate, verify and clear models."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def folder(self, model_id: str) -> Path:
        return self._paths.models / model_id

    def install(self, source: Path, manifest: Manifest) -> Path:
        """Put a model on the shelf; does nothing when it is there. Raises ArtifactError."""
        target = self.folder(manifest.model_id)
        if target.is_dir():
            return target
        with named_disk_errors(target):
            temp = Path(tempfile.mkdtemp(prefix=".new-", dir=self._paths.models))
            try:
                copy_durable(source, temp / MODEL)
                write_atomic(temp / MANIFEST, manifest.model_dump_json(indent=1).encode())
                check_model(temp / MODEL, manifest)
                temp.replace(target)
            finally:
                shutil.rmtree(temp, ignore_errors=True)
            fsync_dir(self._paths.models)
        return target

    def activate(self, model_id: str) -> None:
        """Switch to a model that is on the shelf; the one before becomes ``previous``."""
        current = self.active_id()
        if current == model_id:
            return
        if current is not None:
            point_link(self._paths.root / "previous", f"models/{current}")
        point_link(self._paths.root / "active", f"models/{model_id}")

    def active_id(self) -> str | None:
        return self._linked("active")

    def previous_id(self) -> str | None:
        return self._linked("previous")

    def _linked(self, link: str) -> str | None:
        try:
            return (self._paths.root / link).readlink().name
        except OSError:
            return None

    def manifest(self, model_id: str) -> Manifest:
        """Read a manifest; raises ArtifactError when it is damaged or gone."""
        path = self.folder(model_id) / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as exc:
            message = f"the model {model_id} is damaged: {MANIFEST} cannot be read"
            raise ArtifactError(message) from exc

    def active(self) -> Manifest | None:
        """Return the active model's manifest; None when there is none that can be read."""
        model_id = self.active_id()
        if model_id is None:
            return None
        try:
            return self.manifest(model_id)
        except ArtifactError:
            return None

    def candidates(self) -> list[str]:
        """Return what to serve, best first: the active model, then the last known good."""
        ids = (self.active_id(), self.previous_id())
        return list(dict.fromkeys(model_id for model_id in ids if model_id is not None))

    def verified(self, model_id: str) -> tuple[Manifest, Path]:
        """Return a model whose bytes are what its manifest says; raises ArtifactError."""
        manifest = self.manifest(model_id)
        path = self.folder(model_id) / MODEL
        check_model(path, manifest)
        return manifest, path

    def collect(self, keep: set[str]) -> list[str]:
        """Remove models that are neither active nor previous nor in ``keep``."""
        kept = {*keep, *self.candidates()}
        removed = [p.name for p in sorted(self._paths.models.iterdir()) if p.name not in kept]
        for name in removed:
            shutil.rmtree(self._paths.models / name, ignore_errors=True)
        return removed


def check_model(path: Path, manifest: Manifest) -> None:
    """Raise ArtifactError unless the file has the manifest's length and hash."""
    try:
        whole = path.stat().st_size == manifest.length_bytes and sha256_of(path) == manifest.sha256
    except OSError as exc:
        message = f"the model {manifest.model_id} cannot be read: {exc.strerror}"
        raise ArtifactError(message) from exc
    if not whole:
        message = f"the model {manifest.model_id} is damaged: its SHA-256 is not the manifest's"
        raise ArtifactError(message)
