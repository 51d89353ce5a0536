"""How the agent makes room beneath its service, in a folder that stands for /proc and /sys."""

import os

import pytest

from device_agent.service.unit import UNIT_NAME
from device_agent.training.cgroup import (
    AGENT_LEAF,
    cgroup_limit_bytes,
    make_cap_group,
    memory_groups,
)
from device_agent.training.delegate import take_leaf

SLICE = "sys/fs/cgroup/system.slice"


@pytest.fixture
def service(tmp_path):
    """The root of a machine under version 2, this process in the service's own group."""
    folder = tmp_path / SLICE / UNIT_NAME
    folder.mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("memory pids\n")
    (folder / "memory.max").write_text("700000000\n")
    (folder / "cgroup.subtree_control").write_text("")
    (tmp_path / "proc/self").mkdir(parents=True)
    enter(tmp_path, f"/system.slice/{UNIT_NAME}")
    return tmp_path


def enter(root, group):
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")


def test_it_moves_into_a_leaf_and_hands_the_controller_down(service):
    folder = service / SLICE / UNIT_NAME

    assert take_leaf(service)
    assert (folder / AGENT_LEAF / "cgroup.procs").read_text() == str(os.getpid())
    assert (folder / "cgroup.subtree_control").read_text() == "+memory"


def test_from_the_leaf_the_services_group_is_still_ours(service):
    take_leaf(service)
    enter(service, f"/system.slice/{UNIT_NAME}/{AGENT_LEAF}")
    group = memory_groups(service)[0]

    assert group.folder == service / SLICE / UNIT_NAME
    assert cgroup_limit_bytes(service) == 700_000_000
    assert take_leaf(service)
    assert not (group.folder / AGENT_LEAF / AGENT_LEAF).exists()


def test_the_trainers_group_is_made_beside_the_leaf(service, monkeypatch):
    take_leaf(service)
    enter(service, f"/system.slice/{UNIT_NAME}/{AGENT_LEAF}")
    monkeypatch.setattr(os, "access", lambda *_: True)
    made = make_cap_group(300_000_000, "paretofleet-1-a", service)

    assert made is not None
    assert made.folder == service / SLICE / UNIT_NAME / "paretofleet-1-a"


@pytest.mark.parametrize(
    "group", ["/user.slice/session-1.scope", "/system.slice/other.service", "/"]
)
def test_outside_our_own_service_nothing_is_touched(service, group):
    (service / "sys/fs/cgroup" / group.lstrip("/")).mkdir(parents=True, exist_ok=True)
    enter(service, group)
    before = sorted(service.rglob("*"))

    assert not take_leaf(service)
    assert sorted(service.rglob("*")) == before


def test_a_group_that_is_not_delegated_is_no_failure(service):
    control = service / SLICE / UNIT_NAME / "cgroup.subtree_control"
    control.unlink()
    control.mkdir()

    assert not take_leaf(service)


def test_without_version_2_there_is_nothing_to_do(tmp_path):
    assert not take_leaf(tmp_path)
