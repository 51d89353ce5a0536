from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.observations import Seen, after, observation
from contract.report import OutcomeBody

STATUSES = ("activated", "below_floor", "over_cap", "refused", "failed", "cloud", "deferred")


def outcome(status, accuracy=None, peak=None, cap=None):
    return OutcomeBody(
        generation=1,
        release_number=1,
        point_key="p",
        status=status,
        reason="",
        balanced_accuracy_after=accuracy,
        peak_rss_bytes=peak,
        cap_bytes=cap,
    )


OUTCOMES = st.builds(
    outcome,
    st.sampled_from(STATUSES),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 1000),
    st.none() | st.integers(0, 1000),
)


def fold(outcomes):
    seen = Seen()
    for sequence, one in outcomes:
        seen = after(seen, one, sequence)
    return seen


@given(st.lists(OUTCOMES, max_size=4))
def test_any_order_of_the_same_outcomes_says_the_same(outcomes):
    numbered = list(enumerate(outcomes))
    assert len({fold(order) for order in permutations(numbered)}) == 1


def test_a_trainer_stopped_at_its_cap_needs_more_than_the_cap():
    assert fold([(1, outcome("over_cap", peak=90, cap=100))]).peak_bytes == 101
    assert fold([(1, outcome("over_cap", peak=130, cap=100))]).peak_bytes == 130


@pytest.mark.parametrize(
    ("outcomes", "permanent"),
    [
        ([outcome("refused")], True),
        ([outcome("failed")] * 2, False),
        ([outcome("failed")] * 3, True),
        ([outcome("over_cap")] * 3, True),
        ([outcome("cloud"), outcome("deferred")] * 5, False),
    ],
)
def test_a_point_is_given_up_after_a_refusal_or_three_failures(outcomes, permanent):
    assert observation("p", fold(enumerate(outcomes))).failed_permanently == permanent


def test_what_did_not_run_says_nothing_of_accuracy_or_peak():
    seen = fold([(1, outcome("deferred", accuracy=0.1, peak=5))])
    assert (seen.balanced_accuracy, seen.peak_bytes) == (None, None)
