"""When the watchdog bites, from recorded /proc trees, and how soon it looks again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.training.watchdog import (
    INTERVAL_S,
    SHORTEST_S,
    Occupied,
    Watchdog,
    next_look_s,
    read_memory,
)

CHILD, GRANDCHILD = 70, 75


def status(peak_kib: int, rss_kib: int, tgid: int = CHILD, anonymous_kib: int = 50) -> str:
    rss = f"VmHWM:\t{peak_kib} kB\nVmRSS:\t{rss_kib} kB\nRssAnon:\t{anonymous_kib} kB\n"
    return f"Name:\tx\nTgid:\t{tgid}\n{rss}"


def stat(pid: int, *, parent: int = 1, session: int = 1, state: str = "S") -> str:
    ids, middle = f"{parent} {session} {session}", " ".join(["0"] * 15)
    return f"{pid} (a (strange) name) {state} {ids} {middle} 1234 0"


def put(proc, pid, **files):
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "loadavg").write_text("0.1 0.2 0.3 1/99 90\n")
    put(tmp_path, CHILD, status=status(200, 100), stat=stat(CHILD, session=CHILD))
    return tmp_path


def add_grandchild(proc, anonymous_kib, pid=GRANDCHILD, file_kib=0, **facts):
    memory = status(0, anonymous_kib + file_kib, pid, anonymous_kib)
    put(proc, pid, status=memory, stat=stat(pid, **{"parent": CHILD, "session": CHILD, **facts}))


def test_the_high_water_mark_counts_not_what_is_left_of_it(proc):
    watchdog = Watchdog(CHILD, 150 * 1024, proc)

    assert read_memory(proc / str(CHILD) / "status") == Occupied(204_800, 102_400, 51_200)
    assert not watchdog.look()
    assert watchdog.breached
    assert watchdog.peak_bytes == 204_800


def test_a_process_that_is_gone_is_no_breach(tmp_path):
    watchdog = Watchdog(7, 1, tmp_path)

    assert not watchdog.look()
    assert not watchdog.breached


def test_what_a_grandchild_takes_is_added_and_a_breach_is_seen_twice(proc):
    add_grandchild(proc, 400)
    watchdog = Watchdog(CHILD, 450 * 1024, proc)

    assert watchdog.look()
    assert watchdog.peak_bytes == 200 * 1024
    assert not watchdog.look()
    assert watchdog.peak_bytes == 500 * 1024


@pytest.mark.parametrize(
    "facts",
    [
        {"parent": 1, "session": CHILD},
        {"parent": CHILD, "session": GRANDCHILD},
    ],
)
def test_a_descendant_is_known_by_session_or_by_parent(proc, facts):
    add_grandchild(proc, 400, **facts)
    watchdog = Watchdog(CHILD, 450 * 1024, proc)
    watchdog.look()

    assert not watchdog.look()


@pytest.mark.parametrize(
    "facts",
    [{"parent": 1, "session": 1}, {"state": "Z"}],
)
def test_strangers_and_the_dead_do_not_count(proc, facts):
    add_grandchild(proc, 400, **facts)
    watchdog = Watchdog(CHILD, 450 * 1024, proc)

    assert all(watchdog.look() for _ in range(3))


def test_a_thread_is_not_counted_beside_its_process(proc):
    add_grandchild(proc, 400)
    put(proc, GRANDCHILD, status=status(0, 400, CHILD, 400))
    watchdog = Watchdog(CHILD, 450 * 1024, proc)

    assert all(watchdog.look() for _ in range(3))


def test_of_a_grandchild_only_what_it_holds_for_itself_counts(proc):
    """The pages of its libraries are its parent's as well, and those are counted there."""
    add_grandchild(proc, 400, file_kib=5000)
    watchdog = Watchdog(CHILD, 510 * 1024, proc)

    assert all(watchdog.look() for _ in range(3))
    assert watchdog.peak_bytes == 500 * 1024


def test_a_number_that_another_process_has_got_is_let_go(proc):
    add_grandchild(proc, 400)
    watchdog = Watchdog(CHILD, 450 * 1024, proc)
    watchdog.look()
    put(proc, GRANDCHILD, stat=stat(GRANDCHILD).replace("1234", "9999"))

    assert all(watchdog.look() for _ in range(3))


def test_process_numbers_that_start_again_are_all_looked_at(proc):
    watchdog = Watchdog(CHILD, 450 * 1024, proc)
    watchdog.look()
    (proc / "loadavg").write_text("0.1 0.2 0.3 1/99 12\n")
    add_grandchild(proc, 400, pid=11)
    watchdog.look()

    assert not watchdog.look()


def test_a_family_lives_while_any_of_it_does(proc):
    add_grandchild(proc, 100)
    (proc / str(CHILD) / "status").write_text("Name:\tx\nState:\tZ (zombie)\n")
    watchdog = Watchdog(CHILD, 450 * 1024, proc)

    assert watchdog.look()
    (proc / str(GRANDCHILD) / "stat").unlink()
    assert not watchdog.look()


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_next_look_comes_before_the_cap_can_be_far_behind(cap, occupied):
    wait = next_look_s(cap, occupied)

    assert SHORTEST_S <= wait <= INTERVAL_S
    filled = occupied + wait * 4e9
    assert filled <= max(cap, occupied + SHORTEST_S * 4e9) + 1


def test_without_a_cap_it_looks_at_its_own_pace():
    assert next_look_s(None, 10**12) == INTERVAL_S
