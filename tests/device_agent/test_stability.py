"""The index of two counts: 0 when alike, symmetric, never infinite."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.stability import binned, shares_of, stability_index

COUNTS = st.lists(st.integers(0, 1000), min_size=5, max_size=5)


@given(COUNTS)
def test_what_is_alike_has_an_index_of_nought(counts):
    assert stability_index(counts, counts) == 0.0


@given(COUNTS, COUNTS)
def test_it_is_finite_and_the_same_both_ways(one, other):
    assert math.isfinite(stability_index(one, other))
    assert stability_index(one, other) == pytest.approx(stability_index(other, one))


@given(COUNTS)
def test_shares_are_a_whole_and_none_is_empty(counts):
    assert sum(shares_of(counts)) == pytest.approx(1)
    assert min(shares_of(counts)) > 0


def test_a_value_on_an_edge_falls_into_the_upper_bin():
    assert binned([0.0, 1.0, 1.5, 2.0], [1.0, 2.0]) == [1, 2, 1]


def test_half_against_a_tenth_is_unlike():
    assert stability_index([500, 500], [100, 900]) == pytest.approx(0.876, abs=0.01)
