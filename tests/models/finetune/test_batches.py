import numpy as np
import pytest

from models.finetune.batches import BatchPlan, balancing_weights, mixed_order, oriented

LABELS = np.array([0] * 30 + [1] * 7)


def _plan(**changes):
    fields = {"labels": LABELS, "batch": 8, "seed": 5, "dropout": 0.25, "features": 6}
    return BatchPlan(**(fields | changes))


def test_an_epoch_takes_every_image_once_and_the_last_batch_may_be_short():
    batches = list(_plan().epoch(1))
    seen = np.concatenate([b.indices for b in batches])
    assert sorted(seen.tolist()) == list(range(37))
    assert [b.indices.size for b in batches] == [8, 8, 8, 8, 5]


def test_weights_sum_to_one_in_every_batch():
    for batch in _plan().epoch(1):
        assert batch.weights.sum() == pytest.approx(1.0, abs=1e-6)
        assert batch.weights.dtype == np.float32


def test_both_classes_weigh_the_same_over_an_epoch():
    weights = balancing_weights(LABELS)
    assert weights[0] * 30 == pytest.approx(weights[1] * 7)


def test_the_rare_class_is_spread_evenly():
    order = mixed_order(LABELS, np.random.default_rng(0))
    places = np.flatnonzero(LABELS[order] == 1)
    assert np.diff(places).max() < 12


def test_an_epoch_depends_on_seed_and_number_alone():
    again = [b.indices.tolist() for b in _plan().epoch(2)]
    assert again == [b.indices.tolist() for b in _plan().epoch(2)]
    assert again != [b.indices.tolist() for b in _plan().epoch(3)]
    assert again != [b.indices.tolist() for b in _plan(seed=6).epoch(2)]


def test_micro_batches_are_the_batch_in_pieces():
    batch = next(iter(_plan().epoch(1)))
    parts = list(batch.parts(3))
    assert [p.indices.size for p in parts] == [3, 3, 2]
    for name in ("indices", "orientations", "weights", "dropout_mask"):
        pieces = np.concatenate([getattr(p, name) for p in parts])
        assert np.array_equal(pieces, getattr(batch, name))


def test_dropout_keeps_the_mean_and_is_absent_where_the_graph_has_none():
    plan = _plan(labels=np.zeros(4000, np.int64), batch=4000)
    mask = next(iter(plan.epoch(1))).dropout_mask
    assert set(np.unique(mask).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert mask.mean() == pytest.approx(1.0, abs=0.02)
    assert next(iter(_plan(features=None).epoch(1))).dropout_mask is None


def test_eight_orientations_are_all_different_and_zero_is_the_image_itself():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    turned = [oriented(image, o) for o in range(8)]
    assert np.array_equal(turned[0], image)
    assert len({t.tobytes() for t in turned}) == 8
    assert all(sorted(t.ravel()) == sorted(image.ravel()) for t in turned)
