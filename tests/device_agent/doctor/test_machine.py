"""The checks of the machine: memory, swap, images, port, hook, service."""

import os
import socket
from collections import namedtuple

import psutil
import pytest

from device_agent.disk.paths import lock_state
from device_agent.doctor import machine
from device_agent.doctor.finding import Patient
from device_agent.service.service import Done, Machine
from device_agent.service.unit import UNIT_FILE
from device_agent.serving.serve import LocalServer
from device_agent.settings import AgentSettings
from tests.device_agent.measured import measured_folder
from tests.device_agent.mending import assert_can_be_given
from tests.device_agent.service.test_unit import plan, unit_text

RUNS = Done(0, "ActiveState=active\nUser=paretofleet")
Swap = namedtuple("Swap", "total")  # noqa: PYI024 - as psutil gives it


def with_settings(tmp_path, **changes):
    given = {"state": measured_folder(tmp_path / "s"), **changes}
    return Patient(settings=AgentSettings.model_validate(given))


def leveled(finding, level):
    assert finding.level == level, finding
    if finding.mend:
        assert_can_be_given(finding.mend)
    return finding


@pytest.mark.parametrize(
    ("cap", "level"), [("100MB", "fail"), ("149MB", "fail"), ("151MB", "ok"), ("4GB", "ok")]
)
def test_a_cap_that_no_plan_fits_is_found_and_the_next_that_does_is_named(tmp_path, cap, level):
    finding = leveled(machine.check_room(with_settings(tmp_path, ram_cap=cap)), level)

    if level == "fail":
        assert finding.mend == "device_agent run --ram-cap 150MB"


def test_the_cap_that_is_named_is_large_enough(tmp_path):
    for port in (None, 8010):
        small = machine.check_room(with_settings(tmp_path, ram_cap="50MB", serve_port=port))
        named = small.mend.rsplit(" ", 1)[1]
        leveled(machine.check_room(with_settings(tmp_path, ram_cap=named, serve_port=port)), "ok")


def test_where_nothing_is_measured_it_is_measured_now_and_not_kept(tmp_path):
    settings = AgentSettings(state=tmp_path / "s", ram_cap="60MB")
    measured = Patient(settings=settings, probe=lambda: {"runtime_floor_bytes": 10**8})

    assert "100.0 MB" in leveled(machine.check_room(measured), "fail").found
    assert not (tmp_path / "s").exists()


def _kinds(monkeypatch, *kinds):
    monkeypatch.setattr(machine, "probe_cap_kinds", lambda _: kinds)


def test_a_box_without_control_groups_is_a_doubt(tmp_path, monkeypatch):
    patient = with_settings(tmp_path)
    _kinds(monkeypatch, "rlimit_data", "rss_watchdog")
    leveled(machine.check_caps(patient), "warn")
    _kinds(monkeypatch, "cgroup_v2", "rlimit_data", "rss_watchdog")
    leveled(machine.check_caps(patient), "ok")


def test_the_kinds_of_cap_are_found_by_trying(tmp_path):
    assert "rss_watchdog" in machine.check_caps(with_settings(tmp_path)).found


def test_swap_is_a_doubt_where_nothing_bounds_it(tmp_path, monkeypatch):
    patient = with_settings(tmp_path)
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(0))
    leveled(machine.check_swap(patient), "ok")
    monkeypatch.setattr(psutil, "swap_memory", lambda: Swap(10**9))
    _kinds(monkeypatch, "rlimit_data", "rss_watchdog")
    leveled(machine.check_swap(patient), "warn")
    _kinds(monkeypatch, "cgroup_v1", "rlimit_data", "rss_watchdog")
    leveled(machine.check_swap(patient), "ok")


def test_images_that_are_missing_are_found(tmp_path, data):
    leveled(machine.check_images(with_settings(tmp_path)), "warn")
    leveled(machine.check_images(with_settings(tmp_path, data=tmp_path / "none")), "fail")
    leveled(machine.check_images(with_settings(tmp_path, data=data)), "warn")
    for path in (data / "defect").iterdir():
        path.unlink()
    finding = leveled(machine.check_images(with_settings(tmp_path, data=data)), "fail")
    assert "none of defect" in finding.found
    for name in ("ok", "defect"):
        for number in range(20):
            (data / name / f"n{number}.png").write_bytes(b"")
    leveled(machine.check_images(with_settings(tmp_path, data=data)), "ok")


def test_a_port_that_another_program_holds_is_found(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(0)
        port = other.getsockname()[1]
        other.close()
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", port))
            finding = leveled(machine.check_port(with_settings(tmp_path, serve_port=port)), "fail")
    assert f"--serve-port {port + 1}" in finding.mend or port == 65_535
    leveled(machine.check_port(with_settings(tmp_path, serve_port=port)), "ok")
    leveled(machine.check_port(with_settings(tmp_path)), "skip")


def test_our_own_agent_on_the_port_is_in_order(tmp_path):
    desk = LocalServer(0, None, lambda *_: None, dict)
    desk.start()
    try:
        finding = machine.check_port(with_settings(tmp_path, serve_port=desk.port))
    finally:
        desk.close()
    assert "an agent serves there" in leveled(finding, "ok").found


def test_an_agent_that_runs_without_its_port_is_a_doubt(tmp_path):
    patient = with_settings(tmp_path, serve_port=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    patient = with_settings(tmp_path, serve_port=port)
    lock = lock_state(patient.paths)
    try:
        leveled(machine.check_port(patient), "warn")
    finally:
        os.close(lock)


def test_a_hook_that_cannot_be_run_is_found_and_none_is_run(tmp_path):
    hook, mark = tmp_path / "a hook", tmp_path / "ran"
    leveled(machine.check_hook(with_settings(tmp_path)), "skip")
    leveled(machine.check_hook(with_settings(tmp_path, ready_hook=hook)), "fail")
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    finding = leveled(machine.check_hook(with_settings(tmp_path, ready_hook=hook)), "fail")
    assert finding.mend == f"chmod +x '{hook}'"
    hook.chmod(0o755)
    leveled(machine.check_hook(with_settings(tmp_path, ready_hook=hook)), "ok")
    assert not mark.exists()


@pytest.fixture
def systemd(tmp_path):
    """Return a patient on a machine with systemd, an installed unit, and what systemctl says."""
    root = tmp_path / "root"
    (root / "run/systemd/system").mkdir(parents=True)

    def admitted(unit=None, said=RUNS):
        made = Machine(root=root, call=lambda _: said)
        if unit is not None:
            made.at(UNIT_FILE).parent.mkdir(parents=True, exist_ok=True)
            made.at(UNIT_FILE).write_text(unit)
        settings = AgentSettings(state=tmp_path / "s")
        return Patient(settings=settings, machine=made)

    return admitted


def test_a_machine_without_systemd_is_no_trouble(tmp_path):
    bare = Patient(settings=AgentSettings(state=tmp_path), machine=Machine(root=tmp_path))
    leveled(machine.check_service(bare), "skip")


def test_a_service_that_is_missing_ended_or_in_order_is_told(systemd):
    leveled(machine.check_service(systemd()), "warn")
    ours = unit_text(plan())
    leveled(machine.check_service(systemd(ours)), "ok")
    ended = Done(0, "ActiveState=failed\nResult=watchdog")
    assert "watchdog" in leveled(machine.check_service(systemd(ours, ended)), "fail").found
    leveled(machine.check_service(systemd(ours, Done(1, "no bus"))), "warn")


@pytest.mark.parametrize(
    ("line", "other", "said"),
    [("NoNewPrivileges=yes\n", "", "NoNewPrivileges"), ("User=paretofleet", "User=root", "root"),
     ("User=paretofleet\n", "", "root"), ("ProtectSystem=strict", "ProtectSystem=no", "Protect")],
)  # fmt: skip
def test_a_unit_with_a_hole_in_its_sandbox_is_found(systemd, line, other, said):
    text = unit_text(plan())
    assert line in text
    finding = leveled(machine.check_service(systemd(text.replace(line, other))), "warn")
    assert said in finding.found
