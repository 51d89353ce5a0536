"""Figures of a labelled folder, against slow and simple ways to reckon them."""

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.serving.judge import Answered, auc, balanced, judged, wilson

counts = st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
scores = st.lists(st.integers(0, 6).map(lambda i: i / 6), min_size=1, max_size=25)


@settings(deadline=None)
@given(counts)
def test_the_interval_of_a_share_holds_the_share_and_only_what_it_cannot_rule_out(count):
    right, n = count
    low, high = wilson(right, n)

    assert 0 <= low <= high <= 1
    if n:
        assert low <= right / n <= high
        for bound in (low, high):
            deviation = abs(right / n - bound)
            standard = (bound * (1 - bound) / n) ** 0.5
            assert deviation == pytest.approx(1.959964 * standard, abs=1e-6)


def test_known_intervals():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@settings(deadline=None)
@given(counts, counts)
def test_the_interval_of_balanced_accuracy_holds_it(ok, defect):
    value, low, high = balanced([ok[0], defect[0]], [ok[1], defect[1]])

    assert 0 <= low <= value <= high <= 1


@pytest.mark.parametrize("share", [0.55, 0.8, 0.95])
def test_it_covers_the_truth_19_times_in_20(share):
    chance = Random(0)  # noqa: S311 - a simulation
    n = (60, 40)
    hits = 0
    for _ in range(600):
        right = [sum(chance.random() < s for _ in range(k)) for s, k in zip((share, 0.7), n)]  # noqa: B905
        _, low, high = balanced(right, n)
        hits += low <= (share + 0.7) / 2 <= high

    assert hits / 600 > 0.925


@settings(deadline=None)
@given(scores, scores)
def test_the_auc_is_the_share_of_pairs_in_order(positive, negative):
    pairs = itertools.product(positive, negative)
    slow = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)

    assert auc(positive, negative) == pytest.approx(slow / (len(positive) * len(negative)))


def test_without_a_class_there_is_no_auc():
    assert auc([], [0.5]) is None


def test_the_figures_come_together():
    answers = [
        Answered("ok", "ok", 0.1, 1.0), Answered("ok", "defect", 0.7, 2.0),
        Answered("defect", "defect", 0.9, 3.0), Answered("defect", "defect", 0.8, 100.0),
    ]  # fmt: skip
    figures = judged(answers)

    assert figures["balanced_accuracy"] == 0.75
    assert figures["confusion"] == {"ok": {"ok": 1, "defect": 1}, "defect": {"ok": 0, "defect": 2}}
    assert figures["n"] == {"ok": 2, "defect": 2}
    assert figures["auc"] == 1.0
    assert figures["latency_ms_p50"] == 3.0
    assert figures["latency_ms_p99"] == 100.0
