import json
import shutil

import numpy as np
import pytest
from PIL import Image

from models.finetune.dataset import list_images, load_dataset, thinned
from models.finetune.errors import BadInputError
from models.finetune.job import load_job
from models.finetune.pixels import PixelStore


@pytest.fixture
def load(job, tmp_path):
    """Return a function that loads the dataset of a job into memory: parts of rows and pixels."""

    def run(**changes):
        path = tmp_path / "job.json"
        path.write_text(json.dumps(job("head", **changes)))
        checked = load_job(path)
        counts = []
        with PixelStore(tmp_path, checked.input_px, checked.in_channels) as store:
            dataset = load_dataset(list_images(checked), store, checked, counts.append)
            pixels = store.read(np.arange(store.length))
        assert counts == list(range(1, store.length + 1))
        return dataset, pixels

    return run


@pytest.fixture
def copied(images, tmp_path):
    return shutil.copytree(images, tmp_path / "board")


def test_splits_three_to_one_to_one_with_both_classes_in_each(load):
    dataset, _ = load()
    sizes = [part.size for part in (dataset.train, dataset.validation, dataset.test)]
    total = sum(sizes)
    assert sizes[0] == pytest.approx(0.6 * total, abs=3)
    assert sizes[1] == pytest.approx(0.2 * total, abs=3)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert set(dataset.labels[part].tolist()) == {0, 1}
    everything = np.concatenate([dataset.train, dataset.validation, dataset.test])
    assert sorted(everything.tolist()) == list(range(total))


def test_a_test_folder_is_the_whole_test_part_and_the_rest_splits_three_to_one(load, tmp_path):
    rng = np.random.default_rng(9)
    for name in ("ok", "defect"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(5):
            noise = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / "other" / name / f"{number}.png")
    dataset, _ = load(test_dir=str(tmp_path / "other"))
    assert dataset.test.size == 10
    assert dataset.train.size == pytest.approx(3 * dataset.validation.size, abs=8)


def test_test_images_that_were_trained_on_are_left_out(load, images, copied):
    noise = np.random.default_rng(3).integers(0, 255, (2, 40, 40, 3)).astype(np.uint8)
    for name, pixels in zip(("ok", "defect"), noise, strict=True):
        Image.fromarray(pixels).save(copied / name / "new.png")
    dataset, _ = load(data_dir=str(images), test_dir=str(copied))
    assert dataset.test.size == 2
    assert dataset.n_dropped == dataset.train.size + dataset.validation.size


@pytest.mark.parametrize("separate", [False, True])
def test_a_limit_bounds_training_and_validation_and_leaves_the_test_part(
    load, copied, separate, tmp_path
):
    changes = {}
    if separate:
        other = tmp_path / "other"
        for name in ("ok", "defect"):
            (other / name).mkdir(parents=True)
            (copied / name / "000.png").rename(other / name / "000.png")
        changes = {"test_dir": str(other)}
    whole, _ = load(data_dir=str(copied), **changes)
    few, _ = load(data_dir=str(copied), train_limit=20, **changes)
    assert few.train.size + few.validation.size <= 20
    assert few.train.size >= 12
    assert few.test.size == whole.test.size
    assert set(few.labels[few.train].tolist()) == {0, 1}


def test_copies_of_an_image_stay_on_one_side(load, copied):
    for number in range(12):
        shutil.copy(copied / "ok" / "000.png", copied / "ok" / f"copy{number}.png")
    dataset, pixels = load(data_dir=str(copied))
    original = np.asarray(Image.open(copied / "ok" / "000.png"))
    same = np.flatnonzero((pixels == original).all(axis=(1, 2, 3)))
    assert same.size == 13
    parts = (dataset.train, dataset.validation, dataset.test)
    assert sum(bool(np.isin(same, part).any()) for part in parts) == 1


def test_unreadable_images_are_left_out_and_counted(load, copied):
    (copied / "ok" / "000.png").write_bytes(b"no image")
    truncated = (copied / "defect" / "000.png").read_bytes()[:80]
    (copied / "defect" / "000.png").write_bytes(truncated)
    dataset, _ = load(data_dir=str(copied))
    assert dataset.n_dropped == 2


def test_the_same_seed_gives_the_same_parts(load):
    first, second, other = load(seed=4)[0], load(seed=4)[0], load(seed=5)[0]
    assert np.array_equal(first.train, second.train)
    assert not np.array_equal(first.train, other.train)


def test_grey_images_have_one_channel(load):
    _, pixels = load(in_channels=1)
    assert pixels.shape[1:] == (32, 32, 1)


def _empty(folder):
    shutil.rmtree(folder / "ok")
    (folder / "ok").mkdir()


def _one_class(folder):
    shutil.rmtree(folder / "defect")


def _two_images(folder):
    for path in sorted((folder / "ok").iterdir())[2:]:
        path.unlink()


def _all_broken(folder):
    for path in (folder / "ok").iterdir():
        path.write_bytes(b"broken")


@pytest.mark.parametrize("damage", [_empty, _one_class, _two_images, _all_broken])
def test_a_folder_that_cannot_be_learnt_from_is_refused_with_advice(load, copied, damage):
    damage(copied)
    with pytest.raises(BadInputError, match=r"add|put|Replace"):
        load(data_dir=str(copied))


def test_thinning_keeps_the_shares_of_the_classes_and_one_of_each():
    labels = np.array([0] * 90 + [1] * 10)
    kept = thinned(labels, 20, seed=1)
    assert np.bincount(labels[kept]).tolist() == [18, 2]
    assert np.bincount(labels[thinned(labels, 3, seed=1)]).tolist() == [2, 1]
    assert thinned(labels, 100, seed=1).size == 100
