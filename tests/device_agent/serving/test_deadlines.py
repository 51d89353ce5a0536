"""A request must be whole soon after its first byte, however it trickles in."""

import socket

import pytest

from device_agent.serving.deadlines import DeadlineReader


class Ticking:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_bytes_that_trickle_in_do_not_prolong_the_time(pair):
    ours, theirs = pair
    clock = Ticking()
    reader = DeadlineReader(ours, idle_s=5, within_s=10, monotonic=clock)
    for second in (0, 4, 8):
        clock.now_s = second
        theirs.send(b"x")
        assert reader.read(1) == b"x"
        assert ours.gettimeout() == (5 if second == 0 else 10 - second)
    clock.now_s = 10.5
    theirs.send(b"x")

    with pytest.raises(TimeoutError, match="not whole after 10 s"):
        reader.read(1)


def test_every_request_has_its_own_time(pair):
    ours, theirs = pair
    clock = Ticking()
    reader = DeadlineReader(ours, idle_s=5, within_s=10, monotonic=clock)
    theirs.send(b"ab")
    assert reader.read(1) == b"a"
    clock.now_s = 100.0
    reader.begin()

    assert reader.read(1) == b"b"


def test_a_client_that_says_nothing_is_idle_for_a_while_only(pair):
    reader = DeadlineReader(pair[0], idle_s=0.01, within_s=10)

    with pytest.raises(TimeoutError):
        reader.read(1)


def test_a_client_that_left_is_an_end(pair):
    ours, theirs = pair
    theirs.close()

    assert DeadlineReader(ours, idle_s=5, within_s=10).read(1) == b""
