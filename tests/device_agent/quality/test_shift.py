"""The stability index: zero for alike images, large for others, and honest about chance."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.reference import BINS, ReferenceStatistics, StatisticSpread
from device_agent.quality.shift import shift_of, stability_index

EDGES = (1.0, *(float(edge) for edge in range(10, 100, 10)), 99.0)
EVEN = StatisticSpread(name="brightness", edges=EDGES, shares=(0.1,) * BINS)


def reference(*spreads, n=4000):
    return ReferenceStatistics(definition=1, n=n, statistics=spreads or (EVEN,))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_index_is_finite_and_never_negative(values):
    assert 0.0 <= stability_index(EVEN, values, 4000) < 20.0


@given(st.randoms(use_true_random=False), st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_the_order_of_the_images_does_not_matter(chance, values):
    shuffled = sorted(values, key=lambda _: chance.random())

    assert stability_index(EVEN, shuffled, 99) == pytest.approx(stability_index(EVEN, values, 99))


def test_images_like_the_training_images_are_alike():
    values = [0.5 + k for k in range(100)] * 5

    found = shift_of({"brightness": values}, reference())

    assert found.worst.index < 0.001
    assert not found.is_shifted
    assert found.furthest is None


def test_images_beyond_what_training_has_shown_are_named_with_the_statistic():
    other = EVEN.model_copy(update={"name": "contrast"})
    values = {"contrast": [k % 100 for k in range(300)], "brightness": [150.0] * 300}

    found = shift_of(values, reference(EVEN, other))

    assert found.worst.name == "brightness"
    assert found.worst.index > 1.0
    assert found.is_shifted
    assert found.furthest.name == "brightness"
    assert found.furthest.outside_share == 1.0


def test_images_that_are_merely_narrower_are_shifted_but_nowhere_outside():
    found = shift_of({"brightness": [55.0] * 300}, reference())

    assert found.is_shifted
    assert found.furthest is None


def test_few_images_alone_make_no_shift():
    """PSI of 20 images drawn from the reference itself passes 0.25 often."""
    chance = Random(0)  # noqa: S311 - a draw
    draws = [[chance.uniform(0, 100) for _ in range(20)] for _ in range(200)]
    found = [shift_of({"brightness": values}, reference()) for values in draws]

    assert sum(shift.worst.index > 0.25 for shift in found) > 60
    assert sum(shift.is_shifted for shift in found) <= 20


def test_without_a_reference_or_under_another_definition_nothing_is_held_against_it():
    other = reference().model_copy(update={"definition": 2})

    assert shift_of({"brightness": [1.0]}, None) is None
    assert shift_of({"brightness": [1.0]}, other) is None
    assert shift_of({"sharpness": [1.0]}, reference()) is None
    assert shift_of({"brightness": []}, reference()) is None
