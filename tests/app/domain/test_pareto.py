import moocore
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.domain.pareto import costs, dominates, dominators, lab_front, lab_peak_bytes
from tests.app.release_maker import point

VALUES = st.integers(0, 4).map(float)
TABLES = st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=25)


@given(TABLES)
def test_the_front_is_the_one_that_moocore_finds(table):
    points = {f"p{i:02}": row for i, row in enumerate(table)}
    ours = [above is None for above in dominators(points).values()]
    by_key = dict(zip(dominators(points), ours, strict=True))
    theirs = moocore.is_nondominated(np.array(table), keep_weakly=True)
    assert [by_key[key] for key in sorted(by_key)] == list(theirs)


@given(TABLES)
def test_whatever_dominates_a_point_is_named_and_is_itself_on_the_front(table):
    points = {f"p{i:02}": row for i, row in enumerate(table)}
    found = dominators(points)
    for key, above in found.items():
        if above is not None:
            assert dominates(points[above], points[key])
            assert found[above] is None


def test_equal_points_do_not_dominate_each_other():
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert dominates((1.0, 2.0), (1.0, 3.0))


def test_a_point_with_a_missing_number_has_no_costs_and_is_in_no_front():
    for missing in ("accuracy", "workload_mb", "seconds", "latency_ms", "artifact_mb"):
        incomplete = point("a", **{missing: None})
        assert costs(incomplete, lab_peak_bytes(incomplete)) is None
        assert lab_front([incomplete, point("b")]) == {point("b").key}


def test_numbers_that_are_not_finite_count_as_missing():
    broken = point("a").model_copy(update={"train_seconds": float("nan")})
    assert costs(broken, 1) is None
