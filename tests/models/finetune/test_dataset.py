import json
import shutil

import numpy as np
import pytest
from PIL import Image

from models.data.duplicates import fingerprint
from models.data.generator import generate_tile
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


def _reencoded(image, path):
    image.save(path.with_suffix(".jpg"), quality=92)


def _mirrored(image, path):
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)


def _turned_and_reencoded(image, path):
    _reencoded(image.transpose(Image.Transpose.ROTATE_90), path)


def _tiles(folder, numbers, px=32, board=7):
    """Write generated tiles of one board, as many of each class."""
    for name in ("ok", "defect"):
        (folder / name).mkdir(parents=True)
        for number in numbers:
            tile = generate_tile(board, number, name, px)
            Image.fromarray(tile).save(folder / name / f"{number:03}.png")
    return folder


@pytest.mark.parametrize("disguised", [_reencoded, _mirrored, _turned_and_reencoded])
def test_disguised_copies_of_training_images_are_left_out_of_the_test(load, tmp_path, disguised):
    training = _tiles(tmp_path / "training", range(40), board=11)
    test = _tiles(tmp_path / "test", range(100, 104), board=12)
    copied = 0
    for path in sorted(training.rglob("*.png"))[::4]:
        image = Image.open(path)
        if fingerprint(np.asarray(image)).plain:
            continue
        disguised(image, test / path.parent.name / f"copy-{path.name}")
        copied += 1
    assert copied > 5
    dataset, _ = load(data_dir=str(training), test_dir=str(test))
    assert dataset.test.size == 8
    assert dataset.n_dropped == copied
    parts = (dataset.train, dataset.validation)
    assert not set(dataset.test.tolist()) & {row for part in parts for row in part.tolist()}


def test_a_test_folder_of_copies_alone_is_refused_with_advice(load, images, tmp_path):
    test = tmp_path / "test"
    for path in images.rglob("*.png"):
        (test / path.parent.name).mkdir(parents=True, exist_ok=True)
        _mirrored(Image.open(path), test / path.parent.name / path.name)
    with pytest.raises(BadInputError, match="copy of one in"):
        load(data_dir=str(images), test_dir=str(test))


def test_plain_tiles_that_look_alike_are_not_taken_for_copies(load, tmp_path):
    rng = np.random.default_rng(5)
    for part in ("training", "test"):
        for label, name in enumerate(("ok", "defect")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(12):
                plain = rng.normal(90 + label, 2, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(plain).save(folder / f"{number}.png")
    dataset, _ = load(data_dir=str(tmp_path / "training"), test_dir=str(tmp_path / "test"))
    assert dataset.test.size == 24
    assert dataset.n_dropped == 0


def test_a_clean_test_folder_changes_neither_the_split_nor_the_test(load, images, tmp_path):
    test = _tiles(tmp_path / "test", range(6))
    dataset, _ = load(data_dir=str(images), test_dir=str(test))
    n_known = sum(1 for _ in images.rglob("*.png"))
    assert dataset.test.tolist() == list(range(n_known, n_known + 12))
    other = _tiles(tmp_path / "other", range(200, 203))
    again, _ = load(data_dir=str(images), test_dir=str(other))
    assert np.array_equal(again.train, dataset.train)
    assert np.array_equal(again.validation, dataset.validation)


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
