"""Lines that bend, run side by side and end where they should."""

import numpy as np
import pytest

from models.data.generator import geometry


def blank(side=100):
    return np.zeros((side, side), np.uint8)


def test_a_walk_bends_by_eighths_of_a_turn():
    line = geometry.walk(np.zeros(2), 0, [10, np.sqrt(2), 5], [1, 1])
    assert np.allclose(line, [[0, 0], [10, 0], [11, 1], [11, 6]])


@pytest.mark.parametrize("turns", [[1, 1], [1, -1], [2], [-1]])
def test_a_shifted_line_keeps_its_distance_on_every_leg(turns):
    line = geometry.walk(np.zeros(2), 1, [30.0] * (len(turns) + 1), turns)
    moved = geometry.shifted(line, 4.0)
    for k in range(len(line) - 1):
        step = (line[k + 1] - line[k]) / 30
        normal = np.array([-step[1], step[0]])
        assert np.isclose((moved[k] - line[k]) @ normal, 4.0)
        assert np.isclose((moved[k + 1] - line[k + 1]) @ normal, 4.0)


def test_a_line_is_as_wide_as_asked():
    mask = blank()
    geometry.draw_line(mask, np.array([[10.0, 50.0], [90.0, 50.0]]), 9)
    assert (mask[:, 50] > 0).sum() == 9


def test_a_disc_has_its_area_and_stays_inside_the_mask():
    mask = blank()
    geometry.draw_disc(mask, np.array([50.0, 50.0]), 20)
    assert abs((mask > 0).sum() - np.pi * 400) < 80
    geometry.draw_disc(mask, np.array([-500.0, 5000.0]), 20)


def test_a_bar_has_its_area():
    mask = blank()
    along = geometry.direction(1)
    geometry.draw_polygon(mask, geometry.bar(np.array([50.0, 50.0]), along, 40, 10))
    assert abs((mask > 0).sum() - 400) < 80


def test_a_blob_is_about_as_large_as_its_radius_says():
    areas = []
    for seed in range(20):
        mask = blank()
        geometry.draw_blob(mask, np.array([50.0, 50.0]), 10, np.random.default_rng(seed))
        areas.append((mask > 0).sum())
    assert 0.7 < np.mean(areas) / (np.pi * 100) < 1.3
    assert np.std(areas) > 5


def test_chance_comes_as_often_as_its_share():
    rng = np.random.default_rng(0)
    assert 0.27 < np.mean([geometry.chance(rng, 0.3) for _ in range(2000)]) < 0.33
