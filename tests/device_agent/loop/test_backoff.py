"""Waiting: full jitter, at the server's pace, and never a stampede. Clocks are simulated."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.loop.backoff import backoff_s, busy_wait_s, told_wait_s

BOXES = 10_000
MEAN_POLL_S = 60.0
SERVER_JITTER = 0.25
STEADY_PER_S = BOXES / (MEAN_POLL_S * 1.05)
RETRY_AFTER_S = 2.0


def next_poll_s(chance: Random) -> float:
    """What the server tells a box: its mean, a quarter more or less; and the box's own wait."""
    told_s = MEAN_POLL_S * (1 + SERVER_JITTER * (2 * chance.random() - 1))
    return told_wait_s(told_s, chance)


def arrivals(away_s: float, until_s: float, seed: int = 0) -> Counter[int]:
    """Calls in every second: a fleet in its stride, whose server is away from 0 to ``away_s``."""
    seen: Counter[int] = Counter()
    chance = Random(seed)  # noqa: S311 - jitter
    for _ in range(BOXES):
        now_s, failures = chance.uniform(-MEAN_POLL_S, 0), 0
        while now_s < until_s:
            if 0 <= now_s < away_s:
                failures += 1
                now_s += backoff_s(failures, chance, pace_s=MEAN_POLL_S)
            else:
                failures = 0
                now_s += next_poll_s(chance)
            seen[int(now_s // 1)] += 1
    return seen


@pytest.mark.parametrize("away_s", [5, 60, 600, 7200])
def test_ten_thousand_boxes_come_back_without_a_stampede(away_s):
    seen = arrivals(away_s, away_s + 600)

    after = [seen[second] for second in range(away_s, away_s + 600)]
    assert max(after) <= 2 * STEADY_PER_S
    assert sum(after) / 600 >= STEADY_PER_S / 2, "and they do come back"


@pytest.mark.parametrize("away_s", [5, 60, 600, 7200])
def test_an_absent_server_is_not_called_more_often_than_a_present_one(away_s):
    seen = arrivals(away_s, away_s)

    assert max(seen[second] for second in range(away_s)) <= 2 * STEADY_PER_S
    assert sum(seen[second] for second in range(away_s)) <= 1.25 * STEADY_PER_S * away_s


def test_without_its_pace_the_same_fleet_would_stampede():
    """The measure can fail: waits that only double from a second bring twice the load and more."""
    chance = Random(0)  # noqa: S311 - jitter
    seen: Counter[int] = Counter()
    for _ in range(BOXES):
        now_s, failures = chance.uniform(0, MEAN_POLL_S), 0
        while now_s < 70:
            failures += 1
            now_s += backoff_s(failures, chance)
            seen[int(now_s)] += 1
    assert max(seen[second] for second in range(70)) > 2 * STEADY_PER_S


def test_a_fleet_that_is_turned_away_spreads_until_it_can_be_served():
    """All 10,000 call at once; the server takes 200 a second and tells the others 2 s."""
    chance = Random(0)  # noqa: S311 - jitter
    waiting = [(0.0, 0)] * BOXES
    served: Counter[int] = Counter()
    heard: Counter[int] = Counter()
    while waiting:
        waiting.sort()
        later = []
        for at_s, turned_away in waiting:
            heard[int(at_s)] += 1
            if served[int(at_s)] < 200:
                served[int(at_s)] += 1
            else:
                wait_s = busy_wait_s(RETRY_AFTER_S, turned_away + 1, chance)
                later.append((at_s + wait_s, turned_away + 1))
        waiting = later

    assert sum(served.values()) == BOXES
    assert max(served) <= 180, "the last is served within three minutes"
    assert max(heard[second] for second in range(20, 180)) <= 3 * 200


@settings(deadline=None)
@given(st.integers(1, 1000), st.integers(0), st.floats(0, 86_400))
def test_a_wait_is_never_none_and_never_without_end(failures, seed, pace_s):
    wait_s = backoff_s(failures, Random(seed), pace_s=pace_s)  # noqa: S311 - jitter

    assert 0.5 <= wait_s <= max(300, 2 * pace_s)


@settings(deadline=None)
@given(st.floats(-5, 1e9), st.integers(1, 1000), st.integers(0))
def test_who_is_turned_away_never_comes_sooner_than_told(seconds, turned_away, seed):
    wait_s = busy_wait_s(seconds, turned_away, Random(seed))  # noqa: S311 - jitter

    assert min(seconds, 3600.0) <= wait_s <= 3600 * 33
    assert wait_s >= 1


@settings(deadline=None)
@given(st.floats(1, 3600), st.integers(0))
def test_a_poll_comes_when_the_server_said_and_little_later(seconds, seed):
    assert seconds <= told_wait_s(seconds, Random(seed)) <= 1.1 * seconds  # noqa: S311 - jitter
