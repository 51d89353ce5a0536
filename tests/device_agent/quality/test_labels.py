"""Labels that were turned are found far more often than by chance."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.quality.features import Embedder, orientations, views_for
from device_agent.quality.labels import FOLDS, LEAST_PER_CLASS, _folds, judge_labels
from device_agent.serving.images import decode
from models.data.generator.boards import write_board
from models.release import FILES_FOLDER, read_release
from tests.device_agent.quality.pictures import picture

STARTER = Path(__file__).resolve().parents[3] / "releases" / "starter"


def blobs(n, apart, seed=0):
    """Features of two classes, ``apart`` standard deviations along one of 12 axes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.standard_normal((n, 12)).astype(np.float32)
    features[:, 0] += apart * labels
    return features, labels.astype(np.int64)


def turned(labels, share, seed=1):
    rng = np.random.default_rng(seed)
    flipped = np.zeros(len(labels), bool)
    flipped[rng.permutation(len(labels))[: round(share * len(labels))]] = True
    return np.where(flipped, 1 - labels, labels), flipped


def precision_and_recall(judged, flipped):
    hits = (judged.suspicious & flipped).sum()
    return hits / max(1, judged.suspicious.sum()), hits / flipped.sum()


def test_clear_classes_give_most_turned_labels_away():
    features, labels = blobs(200, apart=5.0)
    wrong, flipped = turned(labels, 0.1)

    judged = judge_labels(features, wrong, np.arange(200))
    precision, recall = precision_and_recall(judged, flipped)

    assert precision > 0.9
    assert recall > 0.6


def test_classes_that_features_cannot_tell_apart_raise_hardly_any_doubt():
    features, labels = blobs(200, apart=0.0)

    judged = judge_labels(features, labels, np.arange(200))

    assert judged.suspicious.mean() < 0.1
    assert 0.3 < judged.accuracy < 0.7


def test_a_copy_does_not_vouch_for_a_copy():
    """Each picture stands there twice, both with the same wrong label: both are found out."""
    features, labels = blobs(100, apart=8.0)
    wrong, flipped = turned(labels, 0.1)
    pairs = np.repeat(np.arange(100), 2)

    judged = judge_labels(features[pairs], wrong[pairs], pairs)

    assert precision_and_recall(judged, flipped[pairs])[1] > 0.9


@settings(deadline=None, max_examples=10)
@given(st.integers(20, 60), st.integers(0, 5))
def test_doubts_are_chances_and_the_same_every_time(n, seed):
    features, labels = blobs(n, 1.0, seed)

    one, other = (judge_labels(features, labels, np.arange(n)) for _ in range(2))

    assert ((one.doubt >= 0) & (one.doubt <= 1)).all()
    assert (one.doubt[one.suspicious] >= 0.65).all()
    assert np.array_equal(one.doubt, other.doubt)


@pytest.mark.parametrize("n", [2, 2 * LEAST_PER_CLASS - 2])
def test_too_few_pictures_are_not_judged(n):
    features, labels = blobs(n, 1.0)

    assert judge_labels(features, labels, np.arange(n)) is None


def test_copies_count_once_when_it_is_asked_whether_there_are_enough():
    features, labels = blobs(100, 1.0)

    assert judge_labels(features, labels, np.arange(100) % 4) is None


def test_a_group_stands_in_one_fold_and_folds_are_about_even():
    groups = np.repeat(np.arange(50), 3)

    folds = _folds(groups, 0)

    assert all(len(set(folds[groups == name])) == 1 for name in range(50))
    assert np.bincount(folds, minlength=FOLDS).tolist() == [30] * FOLDS


def test_more_features_than_images_and_features_without_spread_are_no_trouble():
    features, labels = blobs(40, 4.0)
    wide = np.hstack([features, np.zeros((40, 100), np.float32)])

    assert judge_labels(wide, labels, np.arange(40)).accuracy > 0.75


def test_the_released_network_finds_labels_that_were_turned(tmp_path):
    """120 generated tiles of a board that the release never saw, one label in ten turned."""
    files = write_board(tmp_path, 9200, n_ok=60, n_defect=60, px=64, seed=3)
    labels = np.repeat([0, 1], 60).astype(np.int64)
    variant = read_release(STARTER).variant("rx-2xs-064")
    model = STARTER / FILES_FOLDER / variant.inference.sha256
    embedder = Embedder(model, variant.spec.input_px, 3, views=4)
    features = np.array([embedder.features(path.read_bytes()) for path in files])
    found = []
    for seed in range(5):
        wrong, flipped = turned(labels, 0.1, seed)
        judged = judge_labels(features, wrong, np.arange(120))
        found.append(precision_and_recall(judged, flipped))
    precision, recall = np.mean(found, axis=0)

    assert precision > 0.25, (precision, recall)
    assert recall > 0.25, (precision, recall)


def test_each_orientation_is_another_view_of_the_same_image():
    image = np.asarray(picture(1, 32))
    views = orientations(image)

    assert np.array_equal(views[0], image)
    assert len({view.tobytes() for view in views}) == 8
    assert len({tuple(sorted(view.ravel().tolist())) for view in views}) == 1


def test_the_work_is_bounded_whatever_the_number_of_images():
    assert [views_for(n, 128) for n in (0, 1, 500, 1000, 4000, 10**6)] == [8, 8, 8, 4, 1, 1]
    assert [views_for(1000, px) for px in (32, 64, 96, 192, 224)] == [8, 8, 7, 1, 1]


def test_features_do_not_depend_on_how_the_camera_was_turned(tmp_path):
    variant = read_release(STARTER).variant("rx-2xs-064")
    model = STARTER / FILES_FOLDER / variant.inference.sha256
    for name, image in (("a.png", picture(1, 64)), ("b.png", picture(1, 64).rotate(90))):
        image.save(tmp_path / name)
    embedder = Embedder(model, 64, 3, views=8)

    one, other = (embedder.features((tmp_path / n).read_bytes()) for n in ("a.png", "b.png"))

    assert decode((tmp_path / "a.png").read_bytes(), 64, 3).shape == (1, 64, 64, 3)
    assert np.allclose(one, other, atol=1e-3)
    assert one.shape == (256,)
