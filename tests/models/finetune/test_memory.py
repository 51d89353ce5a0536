"""In a child process each: a limit, once set, would stay with the tests."""

import json
import subprocess
import sys
import textwrap

import pytest

from models.finetune.memory import MemoryGuard, read_memory, release_memory, tune_allocator

_PROLOGUE = """
import json, os
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from models.finetune.errors import OverCapError
from models.finetune.memory import MemoryGuard, read_memory, release_memory, tune_allocator
tune_allocator()
MIB = 2**20
"""


def _in_child(script):
    code = _PROLOGUE + textwrap.dedent(script)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_figures_of_this_process_add_up():
    now = read_memory()
    assert 0 < now.rss_bytes <= now.peak_rss_bytes
    assert now.anonymous_bytes + now.file_bytes <= now.rss_bytes


def test_without_a_cap_it_only_observes():
    guard = MemoryGuard(None)
    guard.enforce()
    assert guard.cap_kinds == []
    assert guard.follow("testing").rss_bytes > 0
    peak, anonymous = guard.peaks()
    assert 0 < anonymous <= peak


def test_an_allocation_beyond_the_cap_is_an_error_and_true_rss_stays_below():
    facts = _in_child("""
        cap = read_memory().rss_bytes + 40 * MIB
        guard = MemoryGuard(cap)
        guard.enforce()
        kept, failed = [], False
        try:
            while len(kept) < 200:
                kept.append(np.ones(MIB, np.uint8))
        except MemoryError:
            failed = True
        print(json.dumps([failed, len(kept), cap - read_memory().peak_rss_bytes]))
    """)
    failed, kept, left = facts
    assert failed
    assert 20 <= kept <= 40
    assert left >= 0


def test_memory_that_is_reserved_and_never_touched_before_does_not_count():
    facts = _in_child("""
        reserved = np.empty(300 * MIB, np.uint8)
        guard = MemoryGuard(read_memory().rss_bytes + 40 * MIB)
        guard.enforce()
        kept = np.ones(10 * MIB, np.uint8)
        print(json.dumps([int(kept.sum())]))
    """)
    assert facts == [10 * 2**20]


def test_the_runtime_leaves_the_host_its_share_and_lifting_frees_all():
    facts = _in_child("""
        guard = MemoryGuard(read_memory().rss_bytes + 40 * MIB)
        guard.enforce()
        kept = []
        try:
            with guard.runtime():
                while True:
                    kept.append(np.ones(MIB // 4, np.uint8))
        except MemoryError:
            pass
        host = np.ones(MIB, np.uint8)
        guard.lift()
        more = np.ones(100 * MIB, np.uint8)
        print(json.dumps([len(kept), int(host.sum()), int(more.sum())]))
    """)
    assert facts[1:] == [2**20, 100 * 2**20]


def test_passing_the_cap_by_other_means_is_noticed():
    facts = _in_child("""
        guard = MemoryGuard(read_memory().rss_bytes + 4 * MIB)
        grown = np.ones(20 * MIB, np.uint8)
        try:
            guard.enforce()
            print(json.dumps("unnoticed"))
        except OverCapError as error:
            print(json.dumps(str(error)))
    """)
    assert "was reached while loading" in facts


def test_released_memory_goes_back_to_the_kernel():
    facts = _in_child("""
        before = read_memory().anonymous_bytes
        blocks = [np.ones(100_000, np.uint8) for _ in range(300)]
        del blocks
        release_memory()
        print(json.dumps(read_memory().anonymous_bytes - before))
    """)
    assert facts < 4 * 2**20


@pytest.mark.parametrize("call", [tune_allocator, release_memory])
def test_tuning_twice_does_no_harm(call):
    call()
    call()
