"""A scan becomes a photograph in which its copper and its defect can be seen."""

import numpy as np
import pytest

from models.data.generator.photograph import photograph_copper


def scan():
    copper = np.zeros((150, 150), np.uint8)
    copper[60:80] = 255
    changed = np.zeros_like(copper)
    changed[60:80, 70:76] = 255
    copper[changed > 0] = 0
    return copper, changed


@pytest.mark.parametrize("style_seed", range(8))
def test_copper_and_substrate_can_be_told_apart(style_seed):
    copper, _ = scan()
    tile = photograph_copper(copper, None, style_seed, np.random.default_rng(0), 96)
    assert tile.image.shape == (96, 96, 3)
    rows = tile.image.astype(int).mean(axis=1)
    assert np.abs(rows[41:48].mean(axis=0) - rows[:30].mean(axis=0)).max() > 5


def test_the_tile_says_where_the_scan_differs():
    copper, changed = scan()
    tile = photograph_copper(copper, changed, 0, np.random.default_rng(0), 96)
    rows, columns = np.nonzero(tile.where)
    assert set(rows) <= {6, 7, 8}
    assert set(columns) <= {7, 8}
    assert len(rows)


def test_what_is_not_said_to_differ_is_not_marked():
    assert not photograph_copper(scan()[0], None, 0, np.random.default_rng(0), 64).where.any()
