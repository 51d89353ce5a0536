import json
from dataclasses import replace

import numpy as np
import pytest

from models.data import deeppcb
from models.data.generator.tiles import GRID
from models.data.pool import (
    MAKING_FILE,
    RECORD_FILE,
    BoardsOverlapError,
    PoolRecipe,
    build_pool,
)

SMALL = PoolRecipe(
    generated=24, generated_boards=6, validation=8, validation_boards=2, deeppcb_crops=0, px=64
)


def quiet(_done, _total):
    """Report to nobody."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return folder, build_pool(folder, SMALL, quiet)


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_half_of_the_tiles_are_ok_and_defects_are_located(finished):
    _, pool = finished

    tiles = pool.training(64)

    assert tiles.images.shape == (24, 64, 64, 3)
    assert tiles.images.dtype == np.uint8
    assert np.bincount(tiles.labels).tolist() == [12, 12]
    assert tiles.where.shape == (24, GRID, GRID)
    assert not tiles.where[tiles.labels == 0].any()
    assert tiles.where[tiles.labels == 1].any(axis=(1, 2)).mean() > 0.9


def test_a_smaller_size_shows_the_same_tiles(finished):
    _, pool = finished

    small = pool.training(32)

    assert small.images.shape == (24, 32, 32, 3)
    blocks = pool.training(64).images.reshape(24, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(blocks - small.images).max() <= 1


def test_validation_tiles_are_no_training_tiles(finished):
    _, pool = finished
    training = {tile.tobytes() for tile in pool.training(64).images}

    assert all(tile.tobytes() not in training for tile in pool.validation(64).images)


def test_a_finished_pool_is_not_made_again(finished):
    folder, _ = finished
    before = files(folder)
    said = []

    again = build_pool(folder, SMALL, lambda *done: said.append(done))

    assert files(folder) == before
    assert said == []
    assert again.describe() == json.loads((folder / RECORD_FILE).read_text())


def test_nothing_but_the_pool_is_left_in_its_folder(finished):
    folder, _ = finished

    assert not [name for name in files(folder) if name.endswith((".npz", ".tmp"))]


def test_a_stopped_pool_goes_on_and_ends_the_same(tmp_path):
    whole = build_pool(tmp_path / "whole", SMALL, quiet, shard_tiles=8)

    def stop_after_two(done, _total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pool(tmp_path / "stopped", SMALL, stop_after_two, shard_tiles=8)
    kept = {n: t for n, t in files(tmp_path / "stopped").items() if n.endswith(".npz")}
    remade = []

    def note(_done, _total):
        now = files(tmp_path / "stopped")
        remade.extend(name for name, time in kept.items() if now.get(name) != time)

    resumed = build_pool(tmp_path / "stopped", SMALL, note, shard_tiles=8)

    assert len(kept) == 2
    assert remade == []
    for part in ("training", "validation"):
        for one, other in zip(getattr(whole, part)(64), getattr(resumed, part)(64), strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_recipe_leaves_nothing_of_the_old_pool(tmp_path):
    build_pool(tmp_path, SMALL, quiet).training(32)
    fewer = replace(SMALL, generated=10, seed=1)

    tiles = build_pool(tmp_path, fewer, quiet).training(32)

    assert len(tiles.images) == len(tiles.labels) == len(tiles.where) == 10


def test_shards_of_another_recipe_are_not_taken_over(tmp_path):
    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pool(tmp_path, SMALL, stop, shard_tiles=8)
    other = replace(SMALL, generated_boards=1)

    mixed = build_pool(tmp_path, other, quiet, shard_tiles=8).training(64)
    clean = build_pool(tmp_path / "clean", other, quiet, shard_tiles=8).training(64)

    np.testing.assert_array_equal(mixed.images, clean.images)


@pytest.mark.parametrize("torn", [RECORD_FILE, MAKING_FILE])
def test_a_torn_record_costs_time_and_not_the_pool(tmp_path, torn):
    tiny = replace(SMALL, generated=2, validation=2)
    build_pool(tmp_path, tiny, quiet)
    (tmp_path / torn).write_text('{"generated": 2')

    assert len(build_pool(tmp_path, tiny, quiet).training(64).labels) == 2


def test_two_workers_make_the_same_pool_as_one(tmp_path, finished):
    _, pool = finished

    other = build_pool(tmp_path, SMALL, quiet, workers=2)

    np.testing.assert_array_equal(other.training(64).images, pool.training(64).images)


@pytest.mark.parametrize("boards", [{"generated_boards": 8001}, {"validation_boards": 1001}])
def test_boards_to_learn_from_validate_on_and_measure_on_cannot_overlap(boards):
    with pytest.raises(BoardsOverlapError, match="too many"):
        PoolRecipe(**boards)


@pytest.mark.skipif(not deeppcb.default_root().is_dir(), reason="the DeepPCB scans are not here")
def test_deeppcb_crops_come_in_and_their_validation_group_stays_out(tmp_path):
    recipe = replace(SMALL, generated=4, validation=4, deeppcb_crops=6)

    pool = build_pool(tmp_path, recipe, quiet)

    assert len(pool.training(64).labels) == 10
    assert len(pool.validation(64).labels) == 6
