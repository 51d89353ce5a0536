"""The models that this box may serve: immutable folders, and links that say which serves.

``models/<id>/`` holds ``model.onnx`` and ``manifest.json`` and is renamed into place whole. The
links are switched atomically: ``active``; ``previous``, the last known good; ``factory``, what the
box was delivered with; ``rolled_back``, what a rollback set aside. What a link names is never
cleared, nor are the files that it was trained from: going back needs no network.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from contract.base import ByteCount, Count, Fraction, Label, Message, Name, Sha256, Utc
from contract.finetune import SCORES_FILE, SEEN_FILE
from device_agent.disk.files import (
    copy_durable,
    fsync_dir,
    is_whole_file,
    named_disk_errors,
    point_link,
    write_atomic,
)
from device_agent.disk.paths import StatePaths
from device_agent.disk.rollback_request import read_request
from device_agent.errors import ArtifactError

MODEL = "model.onnx"
MANIFEST = "manifest.json"


class Manifest(Message):
    """Everything needed to serve a model and to judge the next one against it.

    ``data_key`` names the images that ``balanced_accuracy`` was measured on; it is None for a
    model that was never judged on this box (the factory model: ``n_test`` is 0). ``artifacts``
    are the files that it was trained from, so that they stay in the cache.
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
    balanced_accuracy: Fraction | None
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
        """Put a model on the shelf; does nothing when it is there whole. Raises ArtifactError."""
        target = self.folder(manifest.model_id)
        if self.is_whole(manifest.model_id):
            return target
        with named_disk_errors(target):
            temp = Path(tempfile.mkdtemp(prefix=".new-", dir=self._paths.models))
            try:
                copy_durable(source, temp / MODEL)
                for name in (SEEN_FILE, SCORES_FILE):
                    if (beside := source.with_name(name)).is_file():
                        copy_durable(beside, temp / name)
                write_atomic(temp / MANIFEST, manifest.model_dump_json(indent=1).encode())
                check_model(temp / MODEL, manifest)
                _put_in_place(temp, target)
            finally:
                shutil.rmtree(temp, ignore_errors=True)
            fsync_dir(self._paths.models)
        return target

    def activate(self, model_id: str) -> None:
        """Switch to a model that is on the shelf; the one before becomes ``previous``.

        Only what is whole pushes out the last known good; the factory model has its own link.
        """
        current = self.active_id()
        if current != model_id:
            if current is not None and self._may_be_last_good(current):
                self._link("previous", current)
            self._link("active", model_id)
        self._unlink("rolled_back")

    def go_back(self, model_id: str) -> None:
        """Switch to an older model; the one before is kept as ``rolled_back``. Safe to repeat.

        Going back twice keeps the first as ``rolled_back`` and the second as ``previous``.
        """
        current, left = self.active_id(), self.rolled_back_id()
        if current is not None and current != model_id:
            if left is None:
                self._link("rolled_back", current)
            elif current not in {left, self.factory_id()} and self.previous_id() is None:
                self._link("previous", current)
        self._link("active", model_id)
        for link in ("previous", "rolled_back"):
            if self._linked(link) == model_id:
                self._unlink(link)

    def _may_be_last_good(self, model_id: str) -> bool:
        return model_id != self.factory_id() and self.is_whole(model_id)

    def set_factory(self, model_id: str) -> None:
        """Say which model on the shelf the box was delivered with."""
        self._link("factory", model_id)

    def _link(self, link: str, model_id: str) -> None:
        point_link(self._paths.root / link, f"models/{model_id}")

    def _unlink(self, link: str) -> None:
        path = self._paths.root / link
        if path.is_symlink():
            path.unlink()
            fsync_dir(self._paths.root)

    def active_id(self) -> str | None:
        return self._linked("active")

    def previous_id(self) -> str | None:
        return self._linked("previous")

    def factory_id(self) -> str | None:
        return self._linked("factory")

    def rolled_back_id(self) -> str | None:
        return self._linked("rolled_back")

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

    def whole_active(self) -> Manifest | None:
        """Return the active model's manifest; None when any byte of the model is damaged."""
        active = self.active()
        return active if active is not None and self.is_whole(active.model_id) else None

    def candidates(self) -> list[str]:
        """Return what to serve, best first: active, last known good, factory model.

        A rollback that was asked for goes before all of them.
        """
        request = read_request(self._paths)
        wanted = request.model_id if request else None
        return _distinct(wanted, self.active_id(), self.previous_id(), self.factory_id())

    def pinned(self) -> list[str]:
        """Return what is never cleared: what serves or may, and what can be gone back to."""
        return _distinct(*self.candidates(), self.rolled_back_id())

    def verified(self, model_id: str) -> tuple[Manifest, Path]:
        """Return a model whose bytes are what its manifest says; raises ArtifactError."""
        manifest = self.manifest(model_id)
        path = self.folder(model_id) / MODEL
        check_model(path, manifest)
        return manifest, path

    def is_whole(self, model_id: str) -> bool:
        """Return whether the model is here with the bytes that its manifest states."""
        try:
            self.verified(model_id)
        except ArtifactError:
            return False
        return True

    def collect(self, keep: set[str]) -> list[str]:
        """Remove models that are neither pinned nor in ``keep``."""
        kept = {*keep, *self.pinned()}
        removed = [p.name for p in sorted(self._paths.models.iterdir()) if p.name not in kept]
        for name in removed:
            shutil.rmtree(self._paths.models / name, ignore_errors=True)
        return removed


def _put_in_place(temp: Path, target: Path) -> None:
    """Rename a new folder into place; where a damaged one lies there, mend it file by file."""
    if not target.is_dir():
        temp.replace(target)
        return
    for name in (MODEL, MANIFEST):
        (temp / name).replace(target / name)
    fsync_dir(target)


def _distinct(*model_ids: str | None) -> list[str]:
    return list(dict.fromkeys(model_id for model_id in model_ids if model_id is not None))


def check_model(path: Path, manifest: Manifest) -> None:
    """Raise ArtifactError unless the file has the manifest's length and hash."""
    try:
        whole = is_whole_file(path, manifest.length_bytes, manifest.sha256)
    except OSError as exc:
        message = f"the model {manifest.model_id} cannot be read: {exc.strerror}"
        raise ArtifactError(message) from exc
    if not whole:
        message = f"the model {manifest.model_id} is damaged: its SHA-256 is not the manifest's"
        raise ArtifactError(message)
