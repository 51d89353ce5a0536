"""The circuit breaker: pauses, probes, and what the server asks for."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.cloud.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_TOLD_S, Breaker


class Bench:
    """A breaker and the clock that it looks at."""

    def __init__(self, seed: int = 0) -> None:
        self.now_s = 0.0
        self.breaker = Breaker(lambda: self.now_s, Random(seed))  # noqa: S311 - jitter

    def fail(self, retry_after_s: float | None = None) -> None:
        permit = self.breaker.admit(1.0)
        assert permit is not None
        self.breaker.failed(permit, retry_after_s)

    def pause_s(self) -> float:
        """Move the clock to the end of the pause; return how long it was."""
        pause_s = self.breaker.rests_s()
        self.now_s += pause_s + 1e-6
        return pause_s


def test_a_breaker_that_never_failed_lets_everybody_ask():
    bench = Bench()
    permits = [bench.breaker.admit(1.0) for _ in range(3)]

    assert all(permit is not None and not permit.probe for permit in permits)


def test_after_a_failure_nobody_asks_for_a_while():
    bench = Bench()
    bench.fail()

    assert bench.breaker.admit(1.0) is None
    bench.now_s = FIRST_PAUSE_S / 2 - 0.01
    assert bench.breaker.admit(1.0) is None
    bench.now_s = FIRST_PAUSE_S
    assert bench.breaker.admit(1.0) is not None


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_pauses_double_with_jitter_up_to_a_bound(seed):
    bench = Bench(seed)
    for failures in range(40):
        bench.fail()
        longest_s = min(FIRST_PAUSE_S * 2**failures, LONGEST_PAUSE_S)
        assert longest_s / 2 <= bench.pause_s() <= longest_s + 1e-6


def test_after_the_pause_one_alone_may_ask():
    bench = Bench()
    bench.fail()
    bench.now_s = FIRST_PAUSE_S
    permits = [bench.breaker.admit(1.0) for _ in range(5)]

    assert [permit is not None for permit in permits] == [True, False, False, False, False]
    assert permits[0].probe
    bench.breaker.succeeded(permits[0])
    assert all(not bench.breaker.admit(1.0).probe for _ in range(3))


def test_a_success_makes_the_next_pause_short_again():
    bench = Bench()
    for _ in range(6):
        bench.fail()
        bench.pause_s()
    bench.breaker.succeeded(bench.breaker.admit(1.0))
    bench.fail()

    assert bench.pause_s() <= FIRST_PAUSE_S + 1e-6


def test_a_probe_that_says_nothing_has_failed():
    bench = Bench()
    bench.fail()
    bench.now_s = FIRST_PAUSE_S
    silent = bench.breaker.admit(1.0)
    bench.now_s += 1.0

    assert bench.breaker.admit(1.0) is None
    bench.breaker.succeeded(silent)
    assert bench.breaker.admit(1.0) is None


def test_questions_that_were_under_way_together_are_one_failure():
    bench = Bench()
    together = [bench.breaker.admit(1.0) for _ in range(4)]
    for permit in together:
        bench.breaker.failed(permit)

    assert bench.pause_s() <= FIRST_PAUSE_S + 1e-6


@pytest.mark.parametrize(("told_s", "least_s"), [(30.0, 30.0), (1e9, LONGEST_TOLD_S), (0.0, 0.0)])
def test_a_busy_server_is_called_when_it_said_so_and_not_much_later(told_s, least_s):
    bench = Bench()
    bench.fail(told_s)

    assert least_s <= bench.pause_s() <= least_s * 1.25 + 1e-3
