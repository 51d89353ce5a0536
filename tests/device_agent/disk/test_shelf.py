"""Installing, switching and verifying models."""

import hashlib
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from device_agent.disk.paths import StatePaths
from device_agent.disk.rollback_request import RollbackRequest, drop_request, write_request
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.errors import ArtifactError


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


def links(shelf):
    return (shelf.active_id(), shelf.previous_id(), shelf.rolled_back_id())


def test_going_back_makes_the_last_known_good_active_and_can_be_undone(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")

    shelf.go_back("one")
    assert links(shelf) == ("one", None, "two")
    shelf.go_back("one")
    assert links(shelf) == ("one", None, "two")
    shelf.activate("two")
    assert links(shelf) == ("two", "one", None)


def test_going_back_twice_forgets_neither_model(shelf, tmp_path):
    put(shelf, tmp_path, "born")
    shelf.set_factory("born")
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")

    shelf.go_back("one")
    shelf.go_back("born")

    assert links(shelf) == ("born", "one", "two")
    assert shelf.collect(set()) == []


def test_the_factory_model_serves_last_and_pushes_nothing_out(shelf, tmp_path):
    put(shelf, tmp_path, "born")
    shelf.set_factory("born")
    put(shelf, tmp_path, "one")
    assert (shelf.candidates(), shelf.previous_id()) == (["one", "born"], None)

    put(shelf, tmp_path, "two")
    shelf.go_back("born")
    put(shelf, tmp_path, "three")

    assert shelf.previous_id() == "one"
    assert shelf.candidates() == ["three", "one", "born"]


def test_a_damaged_model_never_becomes_the_last_known_good(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")
    (shelf.folder("two") / "model.onnx").write_bytes(b"modem")

    put(shelf, tmp_path, "three")

    assert links(shelf) == ("three", "one", None)


def test_installing_again_mends_a_damaged_model(shelf, tmp_path):
    manifest = put(shelf, tmp_path, "one")
    (shelf.folder("one") / "model.onnx").write_bytes(b"modem")

    shelf.install(tmp_path / "source", manifest)

    assert shelf.verified("one")[0] == manifest


def test_what_was_asked_for_serves_before_the_links_are_switched(shelf, tmp_path):
    put(shelf, tmp_path, "one")
    put(shelf, tmp_path, "two")
    paths = StatePaths(tmp_path / "state")
    request = RollbackRequest(request_id="r", goal="previous", model_id="one", reason="why")

    write_request(paths, request)
    assert shelf.candidates() == ["one", "two"]
    drop_request(paths, request)
    assert shelf.candidates() == ["two", "one"]


EFFECTS = {"fsync", "mkdir", "open", "rename", "replace", "rmdir", "symlink", "unlink", "write"}


class CutShort(BaseException):
    """Not an Exception: nothing on the shelf may catch it."""


def cut_short(work, n):
    """Do ``work`` until just before it touches the disk for the ``n``-th time; True when it was."""
    left = n

    def watch(_, event, function):
        nonlocal left
        left -= event == "c_call" and function.__name__ in EFFECTS
        if left == 0:
            sys.setprofile(None)
            raise CutShort

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        work()
    except CutShort:
        return True
    finally:
        sys.setprofile(before)
    return False


@pytest.mark.parametrize("move", ["activate", "go_back", "install"])
def test_cut_short_at_any_touch_of_the_disk_a_whole_model_is_active(shelf, tmp_path, move):
    """At every one of them, then done again: the end is the same as without."""
    put(shelf, tmp_path, "one")
    manifest = put(shelf, tmp_path, "three")
    moves = {
        "activate": lambda: shelf.activate("three"),
        "go_back": lambda: shelf.go_back("one"),
        "install": lambda: shelf.install(tmp_path / "source", manifest),
    }
    n, was_cut = 0, True
    while was_cut:
        n += 1
        if move == "activate":
            shelf.activate("one")
        else:
            shelf.activate("three")
        if move == "install":
            (shelf.folder("three") / "model.onnx").write_bytes(b"rot")
        before = links(shelf)
        was_cut = cut_short(moves[move], n)
        assert shelf.active_id() in {"one", "three"}
        if move != "install":
            assert all(shelf.is_whole(model_id) for model_id in shelf.pinned())
        moves[move]()
        assert all(shelf.is_whole(model_id) for model_id in shelf.pinned())
        after = {
            "activate": ("three", "one", None),
            "go_back": ("one", None, "three"),
            "install": before,
        }
        assert links(shelf) == after[move]
    assert n > 5


STEPS = st.sampled_from(["activate", "go_back", "collect"])


@given(st.lists(st.tuples(STEPS, st.sampled_from("abcd")), max_size=12))
@example([("activate", "b"), ("activate", "a"), ("go_back", "b"), ("go_back", "a")])
@settings(max_examples=40, deadline=None)
def test_whatever_the_order_what_is_linked_is_whole_and_on_the_shelf(moves):
    with tempfile.TemporaryDirectory() as folder:
        paths = StatePaths(Path(folder) / "state")
        paths.make()
        shelf = Shelf(paths)
        put(shelf, Path(folder), "born")
        shelf.set_factory("born")
        for move, name in moves:
            if move == "activate":
                put(shelf, Path(folder), name)
            elif move == "go_back" and name in shelf.pinned():
                shelf.go_back(name)
            else:
                shelf.collect(set())
            assert shelf.active_id() is not None
            assert shelf.active_id() not in {shelf.previous_id(), shelf.rolled_back_id()}
            for model_id in shelf.pinned():
                shelf.verified(model_id)


def test_a_link_to_nowhere_is_no_model(shelf, tmp_path):
    (tmp_path / "state" / "active").symlink_to("models/gone")

    assert shelf.active() is None
