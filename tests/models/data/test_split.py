"""Splits: whole, stratified, leak-free, repeatable, or refused with the number that is missing."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.split import TooFewImagesError, split

THIRDS = (0.6, 0.2, 0.2)


@st.composite
def labelled_groups(draw):
    """Groups of one class each, at least three a class."""
    sizes = draw(
        st.lists(st.lists(st.integers(1, 7), min_size=3, max_size=25), min_size=2, max_size=4)
    )
    labels, groups, number = [], [], 0
    for label, members in enumerate(sizes):
        for size in members:
            labels += [label] * size
            groups += [number] * size
            number += 1
    return np.array(labels), np.array(groups)


@given(labelled_groups(), st.integers(0, 2**31))
def test_every_image_stands_in_exactly_one_part(data, seed):
    labels, groups = data
    parts = split(labels, groups, seed, THIRDS)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))


@given(labelled_groups(), st.integers(0, 2**31))
def test_no_group_stands_on_two_sides(data, seed):
    labels, groups = data
    sides = [set(groups[part]) for part in split(labels, groups, seed, THIRDS)]
    assert sum(len(side) for side in sides) == len(set(groups))


@given(labelled_groups(), st.integers(0, 2**31))
def test_every_part_has_every_class(data, seed):
    labels, groups = data
    for part in split(labels, groups, seed, THIRDS):
        assert set(labels[part]) == set(labels)


@given(labelled_groups(), st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_parts(data, seed):
    labels, groups = data
    once, again = split(labels, groups, seed, THIRDS), split(labels, groups, seed, THIRDS)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_the_names_of_groups_do_not_matter():
    labels = np.tile([0, 1], 30)
    parts = split(labels, np.arange(60), 5, THIRDS)
    renamed = split(labels, np.arange(60) * 7 + 1000, 5, THIRDS)
    assert all(np.array_equal(a, b) for a, b in zip(parts, renamed, strict=True))


@given(st.integers(10, 200), st.integers(10, 200), st.integers(0, 2**31))
def test_shares_are_kept_within_one_image_a_class(n_ok, n_defect, seed):
    labels = np.repeat([0, 1], [n_ok, n_defect])
    parts = split(labels, np.arange(len(labels)), seed, THIRDS)
    for part, share in zip(parts, THIRDS, strict=True):
        for label, count in ((0, n_ok), (1, n_defect)):
            assert abs(np.sum(labels[part] == label) - share * count) <= 1.5


def test_another_seed_gives_other_parts():
    labels = np.tile([0, 1], 50)
    one, two = (split(labels, np.arange(100), seed, (0.75, 0.25)) for seed in (0, 1))
    assert not np.array_equal(one[0], two[0])


def test_a_giant_group_leaves_the_split_possible():
    labels = np.tile([0, 1], 50)
    groups = np.where(np.arange(100) < 80, 0, np.arange(100))
    parts = split(labels, groups, 0, THIRDS)
    assert len(parts[0]) == 80
    assert all(set(labels[part]) == {0, 1} for part in parts)


def test_says_how_many_more_images_of_which_class_are_needed():
    with pytest.raises(TooFewImagesError, match="class defect has 1 different") as caught:
        split([0] * 9 + [1] * 4, [*range(9), 9, 9, 9, 9], 0, THIRDS, class_names=("ok", "defect"))
    assert caught.value.n_more == 2


def test_a_class_without_any_image_is_named():
    with pytest.raises(TooFewImagesError, match="class 1 has 0 different"):
        split([0, 0, 0, 2, 2, 2], range(6), 0, (0.5, 0.5))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(0, 99),
)
def test_whatever_the_groups_a_split_is_sound_or_refused(rows, seed):
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    parts = ()
    with suppress(TooFewImagesError):
        parts = split(labels, groups, seed, THIRDS)
    assert not parts or sum(len(part) for part in parts) == len(rows)
    for part in parts:
        assert set(labels[part]) == set(range(labels.max() + 1))
