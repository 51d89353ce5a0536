import pytest

from models.release import (
    ReleaseBrokenError,
    ReleaseExistsError,
    describe_artifact,
    read_release,
    write_release,
)
from tests.models.test_card import release


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"some weights")
    return path


@pytest.fixture
def small(weights):
    artifact = describe_artifact(weights, "weights")
    whole = release()
    variant = whole.variants[0]
    graph = variant.train_graphs[0].model_copy(update={"artifact": artifact})
    changes = {"weights": artifact, "inference": artifact, "train_graphs": (graph,)}
    return whole.model_copy(update={"variants": (variant.model_copy(update=changes),)})


def test_a_written_release_reads_back_the_same(tmp_path, weights, small):
    write_release(tmp_path / "r", small, [weights])

    assert read_release(tmp_path / "r") == small


def test_a_release_is_never_overwritten(tmp_path, weights, small):
    write_release(tmp_path / "r", small, [weights])

    with pytest.raises(ReleaseExistsError, match="immutable"):
        write_release(tmp_path / "r", small, [weights])


def test_a_missing_file_leaves_nothing_half_written(tmp_path, weights, small):
    with pytest.raises(ReleaseBrokenError):
        write_release(tmp_path / "r", small, [])

    assert [path.name for path in tmp_path.iterdir()] == [weights.name]


@pytest.mark.parametrize("content", [b"other weight", b"short", b""])
def test_a_changed_file_is_found(tmp_path, weights, small, content):
    write_release(tmp_path / "r", small, [weights])
    stored = next((tmp_path / "r" / "files").iterdir())
    stored.write_bytes(content)

    with pytest.raises(ReleaseBrokenError, match="does not match"):
        read_release(tmp_path / "r")


def test_a_folder_without_a_release_says_so(tmp_path):
    with pytest.raises(ReleaseBrokenError, match="no release here"):
        read_release(tmp_path)


def test_a_release_file_that_is_not_one_says_so(tmp_path):
    (tmp_path / "release.json").write_text("{}")

    with pytest.raises(ReleaseBrokenError, match="not a release"):
        read_release(tmp_path)
