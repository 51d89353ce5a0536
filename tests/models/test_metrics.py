import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import (
    EmptyClassError,
    auc,
    auc_from_logits,
    balanced_accuracy,
    balanced_accuracy_interval,
    predictions,
)


def test_balanced_accuracy_is_the_mean_recall_not_the_share_of_hits():
    labels = [0] * 9 + [1]
    assert balanced_accuracy(labels, [0] * 10) == 0.5
    assert balanced_accuracy(labels, labels) == 1.0


def test_balanced_accuracy_of_nothing_is_refused():
    with pytest.raises(EmptyClassError):
        balanced_accuracy([], [])


def test_the_interval_refuses_a_class_without_images_and_names_it():
    with pytest.raises(EmptyClassError) as caught:
        balanced_accuracy_interval([0, 0], [0, 0], 2)
    assert caught.value.classes == [1]


def test_a_perfect_score_on_few_images_has_a_humble_lower_bound():
    labels = [0] * 10 + [1] * 10
    few = balanced_accuracy_interval(labels, labels, 2)
    many = balanced_accuracy_interval(labels * 50, labels * 50, 2)
    assert few.value == many.value == 1.0
    assert few.lower < 0.85
    assert 0.99 < many.lower < 1.0
    assert few.upper == 1.0


@pytest.mark.parametrize("sizes", [(10, 10), (30, 30), (20, 80), (300, 30), (200, 200)])
@pytest.mark.parametrize("recalls", [(0.5, 0.5), (0.8, 0.9), (0.97, 0.93), (0.99, 0.9)])
def test_the_lower_bound_is_missed_no_more_often_than_promised(sizes, recalls):
    rng = np.random.default_rng(7)
    draws = 1500
    labels = np.repeat([0, 1], sizes)
    missed = 0
    for _ in range(draws):
        right = rng.random(labels.size) < np.repeat(recalls, sizes)
        found = balanced_accuracy_interval(labels, np.where(right, labels, 1 - labels), 2)
        missed += found.lower > np.mean(recalls)
    assert missed / draws < 0.025 + 3 * np.sqrt(0.025 * 0.975 / draws)


def test_auc_counts_pairs_and_half_of_the_ties():
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.5, 0.5, 0.4, 0.9])
    pairs = [
        float(p > n) + 0.5 * float(p == n) for p in scores[labels == 1] for n in scores[labels == 0]
    ]
    assert auc(labels, scores) == pytest.approx(np.mean(pairs))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_auc_is_symmetric_under_reversal(rows):
    labels, scores = np.array(rows).T
    if len(set(labels.tolist())) < 2:
        with pytest.raises(EmptyClassError):
            auc(labels, scores)
        return
    assert auc(labels, scores) == pytest.approx(1 - auc(labels, -scores))


def test_auc_needs_both_classes():
    with pytest.raises(EmptyClassError):
        auc([1, 1], [0.2, 0.3])


def test_one_unit_is_a_binary_logit_and_two_units_are_a_softmax():
    assert predictions(np.array([[-0.1], [0.1]], np.float32)).tolist() == [0, 1]
    assert predictions(np.array([[1, 0], [0, 1]], np.float32)).tolist() == [0, 1]
    assert auc_from_logits([0, 1], np.array([[-0.1], [0.1]], np.float32)) == 1.0
    assert auc_from_logits([0, 1], np.array([[5, 4], [1, 2]], np.float32)) == 1.0


def test_many_classes_average_each_class_against_the_rest():
    logits = np.eye(3, dtype=np.float32)
    assert auc_from_logits([0, 1, 2], logits) == 1.0
    assert auc_from_logits([1, 2, 0], logits) == pytest.approx(0.25)
