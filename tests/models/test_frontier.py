import moocore
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.frontier import costs, non_dominated
from tests.models.points import point

POINTS = st.lists(
    st.builds(
        point,
        accuracy_lower=st.sampled_from([0.5, 0.6, 0.7, 0.8]),
        peak_workload_bytes=st.integers(1, 5),
        train_seconds=st.sampled_from([1.0, 2.0]),
        latency_ms=st.sampled_from([1.0, 2.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(POINTS)
def test_keeps_exactly_the_points_that_an_independent_library_keeps(points):
    kept = moocore.is_nondominated(np.array([costs(p) for p in points]), keep_weakly=True)

    assert list(non_dominated(points)) == [p for p, keep in zip(points, kept, strict=True) if keep]


def test_a_point_with_a_missing_figure_is_dominated_by_a_complete_one():
    whole, hole = point(), point(variant="b", latency_ms=None)

    assert non_dominated([hole, whole]) == (whole,)
