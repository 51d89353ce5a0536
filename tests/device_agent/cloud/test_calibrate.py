"""Thresholds that keep their promise: exact tails, ties, monotony, and coverage by simulation."""

from fractions import Fraction
from itertools import pairwise
from math import comb
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.rules import BoxRules
from device_agent.cloud.calibrate import (
    Evidence,
    binomial_tail,
    calibrate,
    kept_share,
    share_threshold,
    tally_of,
    tries_of,
    walk,
    walks,
)

SCORED = st.lists(
    st.tuples(st.sampled_from([0.5, 0.6, 0.75, 0.9, 0.99, 1.0]), st.booleans()), max_size=120
)
DRAWS = 200
patient = settings(deadline=None)


def exact_tail(k: int, n: int, p: Fraction) -> Fraction:
    terms = (comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    return sum(terms, Fraction(0))


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 1, "1/2"), (3, 22, "1/10"), (0, 45, "1/20"), (180, 900, "1/5")]
)
def test_the_binomial_tail_is_exact(k, n, p):
    assert binomial_tail(k, n, float(Fraction(p))) == pytest.approx(
        float(exact_tail(k, n, Fraction(p))), rel=1e-9
    )


@patient
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 99))
def test_the_binomial_tail_is_exact_for_any_numbers(k, n, percent):
    exact = 1 if k >= n else exact_tail(k, n, Fraction(percent, 100))

    assert binomial_tail(k, n, percent / 100) == pytest.approx(float(exact), rel=1e-9)


def test_the_tail_below_nothing_is_nothing():
    assert binomial_tail(-1, 10, 0.5) == 0.0


def evidence(guide, held) -> Evidence:
    return Evidence(
        tries=tries_of(guide), guide=tally_of(guide), held=tally_of(held),
        ratio=len(held) / max(1, len(guide)), sureness=[c for c, _ in held],
    )  # fmt: skip


@patient
@given(SCORED, SCORED, st.floats(0.01, 0.4), st.floats(0.0, 0.3), st.floats(0.02, 0.5))
def test_a_looser_promise_never_keeps_less_on_the_same_walk(guide, held, risk, more, level):
    order, tally = tries_of(guide), tally_of(held)

    strict = walk(order, tally, max_risk=risk, level=level)
    loose = walk(order, tally, max_risk=risk + more, level=level)
    unsure = walk(order, tally, max_risk=risk, level=2 * level)

    for other in (loose, unsure):
        assert strict is None or (other is not None and other <= strict)


@patient
@given(SCORED, SCORED, st.floats(0.01, 0.9), st.floats(0.01, 0.5))
def test_walks_go_from_strict_to_loose_to_the_end_and_share_the_level(guide, held, risk, level):
    found = walks(evidence(guide, held), max_risk=risk, level=level)

    assert bool(found) == bool(guide)
    assert sum(part for _, part in found) == pytest.approx(level if found else 0)
    for order, _ in found:
        assert all(later < earlier for earlier, later in pairwise(order))
        assert order[-1] == min(confidence for confidence, _ in guide)


@patient
@given(SCORED, st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=30))
def test_walks_do_not_look_at_the_held_back_images(guide, held):
    other = [(0.5, False)] * len(held)

    assert walks(evidence(guide, held), max_risk=0.1, level=0.1) == walks(
        evidence(guide, other), max_risk=0.1, level=0.1
    )


def test_many_tries_are_thinned_and_the_loosest_stays():
    order = tries_of([(n / 5000, True) for n in range(5000)])

    assert len(order) == 200
    assert order[-1] == 0.0
    assert tries_of([]) == []


@patient
@given(SCORED, st.sampled_from([0.4, 0.5, 0.6, 0.8, 0.99, 1.0]))
def test_a_tally_counts_ties_whole(scored, threshold):
    kept = [right for confidence, right in scored if confidence >= threshold]

    assert tally_of(scored)(threshold) == (len(kept), kept.count(False))


def test_too_few_images_send_everything():
    rules = BoxRules(max_risk=0.05, risk_confidence=0.9)
    perfect = [(0.99, True)] * 44

    assert calibrate(perfect, perfect, rules).threshold is None
    assert calibrate([], perfect * 9, rules).threshold is None
    assert calibrate(perfect, [(0.99, True)] * 45, rules).threshold == 0.99


def test_without_images_a_share_is_kept_by_sending_nothing():
    found = calibrate([], [], BoxRules(max_offload=0.2))

    assert (found.threshold, found.n, found.kept_share) == (0.0, 0, 0.0)
    assert found.trusts(0.0)


def test_rules_without_a_promise_need_no_threshold():
    assert calibrate([(0.9, True)], [(0.9, True)], BoxRules()) is None


def test_the_report_names_the_promise():
    held = [(n / 100, True) for n in range(100)]
    body = calibrate(held, held, BoxRules(max_offload=0.2, risk_confidence=0.8)).body("a" * 64)

    assert (body.promise, body.promised, body.confidence, body.n) == ("max_offload", 0.2, 0.8, 100)
    assert body.kept_share == kept_share([c for c, _ in held], body.threshold)


@patient
@given(st.lists(st.floats(0, 1), max_size=80), st.floats(0.01, 0.9), st.floats(0.5, 0.99))
def test_a_share_is_never_passed_on_the_images_themselves(confidences, share, confidence):
    found = share_threshold(confidences, max_offload=share, confidence=confidence)

    sent = sum(c < found for c in confidences)
    assert sent <= share * len(confidences) + 1
    more = share_threshold(confidences, max_offload=min(share * 1.5, 0.99), confidence=confidence)
    surer = share_threshold(confidences, max_offload=share, confidence=(1 + confidence) / 2)
    assert surer <= found <= more


def test_images_that_are_all_alike_send_nothing():
    assert share_threshold([0.7] * 100, max_offload=0.5, confidence=0.9) == 0.7


class Line:
    """Images whose answers are right as often as a stepped curve of confidence says."""

    def __init__(self, seed: int, chance_of_wrong) -> None:
        self.random = Random(seed)  # noqa: S311 - a simulation
        self.wrong = chance_of_wrong

    def draw(self, n: int) -> list[tuple[float, bool]]:
        sureness = [round(0.5 + self.random.random() / 2, 3) for _ in range(n)]
        return [(c, self.random.random() >= self.wrong(c)) for c in sureness]

    def risk(self, threshold: float) -> float:
        kept = [self.wrong(0.5 + n / 2000) for n in range(1000) if 0.5 + n / 2000 >= threshold]
        return sum(kept) / len(kept)


CURVES = {
    "falling": lambda c: (1 - c) * 0.8,
    "overconfident at the top": lambda c: 0.3 if c > 0.95 else 0.02,
    "a bad middle": lambda c: 0.35 if 0.7 < c < 0.8 else 0.05,
    "right at the limit": lambda c: 0.1 if c > 0.6 else 0.9,
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("n", [60, 200])
def test_the_risk_promised_is_kept_in_nine_of_ten_draws_whatever_its_shape(curve, n):
    line = Line(3, CURVES[curve])
    rules = BoxRules(max_risk=0.12, risk_confidence=0.9)
    found = [calibrate(line.draw(n), line.draw(n), rules).threshold for _ in range(DRAWS)]
    broken = sum(t is not None and line.risk(t) > 0.12 for t in found)

    assert broken <= 0.1 * DRAWS + 2.6 * (DRAWS * 0.09) ** 0.5


@pytest.mark.parametrize("n", [40, 150])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_share_promised_is_kept_in_nine_of_ten_draws(n, share):
    random = Random(5)  # noqa: S311 - a simulation
    broken, sent = 0, 0.0
    for _ in range(DRAWS):
        draw = [random.random() for _ in range(n)]
        found = share_threshold(draw, max_offload=share, confidence=0.9)
        broken += found > share
        sent += found / DRAWS

    assert broken <= 0.1 * DRAWS + 2.6 * (DRAWS * 0.09) ** 0.5
    assert sent > 0.35 * share


def test_more_images_let_more_answers_be_kept_on_average():
    line = Line(7, CURVES["falling"])
    rules = BoxRules(max_risk=0.12, risk_confidence=0.9)

    def kept(n: int) -> float:
        found = [calibrate(line.draw(n), line.draw(n), rules).threshold for _ in range(100)]
        return sum(0.0 if t is None else 2 * (1 - t) for t in found) / len(found)

    assert kept(30) < kept(100) < kept(400)


@settings(max_examples=30, deadline=None)
@given(SCORED, SCORED, st.floats(0.01, 0.4))
def test_what_is_kept_looks_as_safe_as_was_promised(guide, held, risk):
    found = calibrate(guide, held, BoxRules(max_risk=risk, risk_confidence=0.9))

    if found.threshold is not None:
        kept, wrong = tally_of(held)(found.threshold)
        assert kept > 0
        assert wrong / kept <= risk
