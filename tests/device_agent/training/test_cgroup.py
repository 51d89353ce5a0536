"""Control groups, version 1 and 2, read from recorded trees and tried on this machine."""

import os
import signal
import subprocess
import sys

import pytest

from device_agent.training.cgroup import (
    CapGroup,
    cgroup_limit_bytes,
    make_cap_group,
    memory_groups,
    sweep_cap_groups,
)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {
    "proc/self/cgroup": "0::/system.slice/agent.service\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/memory.max": "max\n",
    "sys/fs/cgroup/system.slice/memory.max": "2000000000\n",
    "sys/fs/cgroup/system.slice/agent.service/memory.max": "max\n",
}
V1 = {
    "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "536870912\n",
}


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path):
    assert cgroup_limit_bytes(tree(tmp_path, V2)) == 2_000_000_000


def test_version_1_reads_its_own_group(tmp_path):
    assert cgroup_limit_bytes(tree(tmp_path, V1)) == 536_870_912


def test_a_container_that_sees_only_its_own_mount_reads_that(tmp_path):
    files = {
        "proc/self/cgroup": "4:memory:/kubepods/pod1/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "300000000\n",
    }
    assert cgroup_limit_bytes(tree(tmp_path, files)) == 300_000_000


def test_a_hybrid_machine_takes_both_hierarchies(tmp_path):
    files = {
        "proc/self/cgroup": "4:memory:/a\n0::/b\n",
        "sys/fs/cgroup/unified/cgroup.controllers": "\n",
        "sys/fs/cgroup/unified/b/cgroup.procs": "",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "100\n",
    }
    groups = memory_groups(tree(tmp_path, files))

    assert [group.version for group in groups] == [2, 1]
    assert cgroup_limit_bytes(tmp_path) == 100


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": ""},
        {"proc/self/cgroup": "4:memory:/../../etc\n"},
        {**V2, "sys/fs/cgroup/system.slice/memory.max": "garbage"},
        {**V1, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": ""},
    ],
)
def test_nothing_readable_means_no_limit(tmp_path, files):
    assert cgroup_limit_bytes(tree(tmp_path, files)) is None


def test_no_writable_group_is_no_error(tmp_path):
    assert make_cap_group(1 << 28, "paretofleet-1-x", tmp_path) is None


def test_a_group_on_this_machine_is_limited_and_goes_away():
    group = make_cap_group(1 << 28, f"paretofleet-{os.getpid()}-test")
    if group is None:
        pytest.skip("no control group is writable here")
    limit = group.folder / ("memory.max" if group.version == 2 else "memory.limit_in_bytes")

    assert int(limit.read_text()) == 1 << 28
    assert not group.killed_for_memory()

    group.remove()
    assert not group.folder.exists()


def test_leftovers_of_dead_agents_are_swept_and_live_ones_stay(tmp_path):
    tree(tmp_path, {**V1, f"proc/{os.getpid()}/status": "", "proc/77/status": ""})
    home = tmp_path / "sys/fs/cgroup/memory/docker/abc"
    for name in ("paretofleet-77-a", "paretofleet-99-b", "other"):
        (home / name).mkdir()

    sweep_cap_groups("paretofleet-", tmp_path)

    left = {path.name for path in home.iterdir() if path.is_dir()}
    assert left == {"paretofleet-77-a", "other"}


V1_KILLED = {
    "memory.oom_control": "under_oom 0\noom_kill 1\n",
    "memory.failcnt": "0\n",
    "memory.limit_in_bytes": "60000000\n",
}
"""As Linux 6.18 leaves it: no failure is counted."""


@pytest.mark.parametrize(
    ("version", "files", "own_limit"),
    [
        (2, {"memory.events": "oom 1\noom_kill 1\n"}, True),
        (2, {"memory.events": "oom 0\noom_kill 1\n"}, False),
        (2, {"memory.events": "oom 3\noom_kill 0\n"}, False),
        (2, {}, False),
        (1, {"memory.oom_control": "under_oom 0\noom_kill 2\n", "memory.failcnt": "9\n"}, True),
        (1, {"memory.oom_control": "under_oom 0\noom_kill 2\n", "memory.failcnt": "0\n"}, False),
        (1, {"memory.oom_control": "under_oom 0\noom_kill 0\n", "memory.failcnt": "9\n"}, False),
        (1, {**V1_KILLED, "memory.max_usage_in_bytes": "60000000\n"}, True),
        (1, {**V1_KILLED, "memory.max_usage_in_bytes": "59990000\n"}, False),
    ],
)
def test_a_kill_for_memory_counts_only_at_the_group_s_own_limit(
    tmp_path, version, files, own_limit
):
    tree(tmp_path, files)

    assert CapGroup(version, tmp_path).killed_for_memory() is own_limit


def test_the_kernel_s_own_kill_at_the_limit_is_known_for_one():
    group = make_cap_group(60_000_000, f"paretofleet-{os.getpid()}-full")
    if group is None:
        pytest.skip("no control group is writable here")
    hoard = (
        "import os, sys\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "held = []\n"
        "while len(held) < 300: held.append(b'x' * 1_000_000)\n"
    )
    ended = subprocess.run([sys.executable, "-S", "-c", hoard, str(group.procs)], check=False)
    known = group.killed_for_memory()
    group.remove()

    assert (ended.returncode, known) == (-signal.SIGKILL, True)


def test_every_process_in_the_group_is_ended(tmp_path):
    child = subprocess.Popen(["/bin/sleep", "60"])
    tree(tmp_path, {"cgroup.procs": f"{child.pid}\nnonsense\n"})

    CapGroup(2, tmp_path).kill()

    assert child.wait() == -signal.SIGKILL
