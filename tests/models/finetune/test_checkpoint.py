import numpy as np
import pytest

from contract.finetune import CHECKPOINT_FILE
from models.finetune.checkpoint import BEST_FILE, CheckpointStore, Counters


def _vectors(value=0.0):
    return {
        "parameters": np.full(5, value, np.float32),
        "optimiser.mean": np.full(5, -value, np.float32),
    }


def test_what_is_saved_comes_back(tmp_path):
    store = CheckpointStore(tmp_path, "a")
    counters = Counters(epoch=3, steps=12, best_epoch=2, best_score=0.75, seconds=1.5)
    store.save(counters, _vectors(2.0))
    found = _vectors()
    assert store.load(found) == counters == store.counters()
    assert (found["parameters"] == 2.0).all()
    assert (found["optimiser.mean"] == -2.0).all()


def test_without_a_file_there_is_no_checkpoint(tmp_path):
    store = CheckpointStore(tmp_path, "a")
    assert store.load(_vectors()) is None
    assert store.counters() is None
    assert not store.load_best(1, np.zeros(5, np.float32))


def test_a_checkpoint_of_another_job_is_ignored(tmp_path):
    CheckpointStore(tmp_path, "a").save(Counters(), _vectors(1.0))
    found = _vectors()
    assert CheckpointStore(tmp_path, "b").load(found) is None
    assert (found["parameters"] == 0.0).all()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_checkpoint_is_ignored(tmp_path, damage):
    store = CheckpointStore(tmp_path, "a")
    store.save(Counters(), _vectors(1.0))
    path = tmp_path / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x40
    changed = {"flip": content, "truncate": content[:-7], "empty": b""}[damage]
    path.write_bytes(bytes(changed))
    found = _vectors()
    assert store.load(found) is None
    assert (found["parameters"] == 0.0).all()


@pytest.mark.parametrize("position", range(0, 600, 23))
def test_no_flipped_bit_of_the_file_is_ever_taken_for_data(tmp_path, position):
    store = CheckpointStore(tmp_path, "a")
    store.save(Counters(steps=9), _vectors(1.0))
    path = tmp_path / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 0x10
    path.write_bytes(bytes(content))
    found = _vectors()
    loaded = store.load(found)
    assert loaded is None or (loaded.steps == 9 and (found["parameters"] == 1.0).all())


def test_a_vector_of_another_size_is_refused(tmp_path):
    store = CheckpointStore(tmp_path, "a")
    store.save(Counters(), _vectors(1.0))
    smaller = {name: vector[:4].copy() for name, vector in _vectors().items()}
    assert store.load(smaller) is None


def test_the_best_parameters_are_known_by_their_epoch(tmp_path):
    store = CheckpointStore(tmp_path, "a")
    store.save_best(4, np.full(5, 7, np.float32))
    found = np.zeros(5, np.float32)
    assert not store.load_best(3, found)
    assert store.load_best(4, found)
    assert (found == 7).all()


def test_nothing_half_written_stays_behind(tmp_path):
    store = CheckpointStore(tmp_path, "a")
    store.save(Counters(), _vectors())
    store.save_best(1, np.zeros(5, np.float32))
    assert {p.name for p in tmp_path.iterdir()} == {CHECKPOINT_FILE, BEST_FILE}
