import numpy as np
import pytest

from models.finetune.batches import oriented
from models.finetune.errors import BadInputError
from models.finetune.pixels import PixelStore


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 255, (6, 5, 5, 3)).astype(np.uint8)


def test_gives_back_what_was_appended_in_any_order(tmp_path, images):
    with PixelStore(tmp_path, 5, 3) as store:
        for image in images:
            store.append(image)
        rows = np.array([4, 0, 4, 5])
        assert np.array_equal(store.read(rows), images[rows])
        assert store.length == 6


def test_turns_each_image_its_own_way(tmp_path, images):
    with PixelStore(tmp_path, 5, 3) as store:
        for image in images:
            store.append(image)
        found = store.read(np.arange(6), np.array([0, 1, 3, 4, 6, 7]))
    for image, turned, way in zip(images, found, [0, 1, 3, 4, 6, 7], strict=True):
        assert np.array_equal(turned, oriented(image, way))


def test_leaves_no_file_behind_even_while_it_is_open(tmp_path, images):
    with PixelStore(tmp_path, 5, 3) as store:
        store.append(images[0])
        assert not list(tmp_path.iterdir())


def test_takes_images_that_are_not_contiguous(tmp_path, images):
    with PixelStore(tmp_path, 5, 3) as store:
        store.append(images[0, ::-1])
        assert np.array_equal(store.read(np.array([0]))[0], images[0, ::-1])


def test_a_row_that_is_not_there_is_an_error(tmp_path):
    with PixelStore(tmp_path, 5, 3) as store, pytest.raises(OSError, match="short"):
        store.read(np.array([0]))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(BadInputError, match="output_dir"):
        PixelStore(tmp_path / "absent", 5, 3)
