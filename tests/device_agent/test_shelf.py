"""Installing, switching and verifying models."""

import hashlib
from datetime import UTC, datetime

import pytest

from device_agent.errors import ArtifactError
from device_agent.paths import StatePaths
from device_agent.shelf import Manifest, Shelf


@pytest.fixture
def shelf(tmp_path):
    paths = StatePaths(tmp_path / "state")
    paths.make()
    return Shelf(paths)


def put(shelf, tmp_path, name, content=b"model"):
    source = tmp_path / "source"
    source.write_bytes(content)
    manifest = Manifest(
        model_id=name, variant="v", classes=("ok", "defect"), input_px=32, in_channels=3,
        sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content), release_number=1,
        point_key="p", balanced_accuracy=0.9, n_test=10, data_key="d", artifacts=(),
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    shelf.install(source, manifest)
    shelf.activate(name)
    return manifest


def test_the_last_known_good_is_kept(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")

    assert shelf.candidates() == ["two", "one"]


def test_activating_twice_does_not_forget_the_one_before(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")
    shelf.activate("two")

    assert shelf.previous_id() == "one"


def test_a_damaged_model_is_noticed(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    (shelf.folder("one") / "model.onnx").write_bytes(b"modem")

    with pytest.raises(ArtifactError, match="SHA-256"):
        shelf.verified("one")


def test_what_does_not_match_its_manifest_is_never_installed(shelf, tmp_path):
    manifest = put(shelf, tmp_path, "one")
    source = tmp_path / "other"
    source.write_bytes(b"other")

    with pytest.raises(ArtifactError):
        shelf.install(source, manifest.model_copy(update={"model_id": "two"}))
    assert [p.name for p in shelf.folder("x").parent.iterdir()] == ["one"]


def test_neither_the_active_nor_the_previous_model_is_cleared(shelf, tmp_path):
    for name in ("one", "two", "three"):
        put(shelf, tmp_path, name)

    assert shelf.collect(set()) == ["one"]
    assert shelf.candidates() == ["three", "two"]


def test_a_link_to_nowhere_is_no_model(shelf, tmp_path):
    (tmp_path / "state" / "active").symlink_to("models/gone")

    assert shelf.active() is None
