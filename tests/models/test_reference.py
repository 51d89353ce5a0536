"""The reference says how the training pool looks, the same way every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.reference import BINS, DEFINITION, STATISTICS
from contract.release import Variant
from models.data.pool import build_pool
from models.measure import VariantFiles
from models.reference import (
    NoTilesError,
    evenly_spaced,
    reference_of,
    reference_of_pool,
    spread,
    with_reference,
)
from tests.contract.payloads import recorded
from tests.models.labs import POOL, quiet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    build_pool(folder, POOL, quiet)
    return folder


def reference_in(folder):
    return reference_of_pool(build_pool(folder, POOL, quiet), POOL.px)


def test_a_pool_has_a_spread_of_every_statistic(folder):
    reference = reference_in(folder)

    assert tuple(each.name for each in reference.statistics) == STATISTICS
    assert reference.definition == DEFINITION
    assert reference.n == POOL.generated
    assert len(reference.model_dump_json()) < 2500


def test_the_same_pool_gives_the_same_reference(folder):
    assert reference_in(folder) == reference_in(folder)


def test_variants_are_given_it_and_keep_all_else(folder):
    bare = Variant.model_validate(recorded("release")["variants"][0])
    reference = reference_in(folder)

    (made,) = with_reference([VariantFiles(variant=bare, paths={})], reference)

    assert made.variant.reference == reference
    assert made.variant.model_copy(update={"reference": None}) == bare


@given(st.lists(st.floats(-300, 300), min_size=1, max_size=200))
def test_edges_never_fall_and_shares_are_all_the_images(values):
    made = spread("brightness", np.array(values))

    assert sum(made.shares) == pytest.approx(1, abs=BINS * 1e-4)
    assert list(made.edges) == sorted(made.edges)


@given(st.integers(1, 500), st.integers(1, 100))
def test_rows_are_distinct_bounded_and_reach_from_end_to_end(n, most):
    rows = evenly_spaced(n, most)

    assert len(rows) == len(set(rows)) == min(n, most)
    assert rows[0] == 0
    assert rows[-1] == n - 1 or most == 1


def test_nothing_has_no_reference():
    with pytest.raises(NoTilesError):
        reference_of([])
