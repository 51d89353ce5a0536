"""What a service manager hears: a real datagram socket listens."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from subprocess import PIPE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.service.notify import Notifier, living_wait
from device_agent.training.children import quiet_environment
from tests.device_agent.fleet import ENROL_TOKEN
from tests.device_agent.measured import measured_folder
from tests.device_agent.relay import served


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        yield channel


def heard(channel):
    messages = []
    while True:
        try:
            messages.append(channel.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_it_says_ready_status_and_stopping(manager):
    notifier = Notifier(manager.getsockname())
    notifier.ready()
    notifier.status("training\nREADY=0")
    notifier.stopping()

    assert heard(manager) == ["READY=1", "STATUS=training READY=0", "STOPPING=1"]


def test_a_new_step_is_news(manager):
    notifier = Notifier(manager.getsockname(), 60.0)
    notifier.marked("saved trained")
    notifier.marked("artifact fetched")

    assert heard(manager) == ["WATCHDOG=1", "STATUS=trained"]


@settings(deadline=None)
@given(st.floats(0.5, 600), st.lists(st.floats(0, 300), max_size=40))
def test_signs_of_life_come_at_most_every_quarter_and_at_once_after_it(watchdog_s, steps):
    sent, now = [], [0.0]
    notifier = Notifier("@x", watchdog_s, lambda: now[0])
    notifier._tell = lambda message: sent.append((now[0], message))  # noqa: SLF001
    for step in steps:
        now[0] += step
        notifier.alive()
        assert now[0] - sent[-1][0] < watchdog_s / 4

    assert all(b - a >= watchdog_s / 4 for (a, _), (b, _) in itertools.pairwise(sent))


def test_the_environment_says_where_and_how_often():
    both = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "8000000"}

    assert Notifier.from_environment(both).pause_s == 2.0
    assert Notifier.from_environment(both | {"WATCHDOG_PID": str(os.getpid())}).pause_s == 2.0
    assert Notifier.from_environment(both | {"WATCHDOG_PID": "1"}).pause_s == 3600.0
    assert Notifier.from_environment(both | {"WATCHDOG_USEC": "soon"}).pause_s == 3600.0


def test_without_a_watchdog_or_a_manager_nothing_is_said(manager, tmp_path):
    Notifier(manager.getsockname()).alive()
    Notifier(None, 1.0).alive()
    Notifier(str(tmp_path / "nobody"), 1.0).ready()

    assert heard(manager) == []


def test_an_abstract_address_is_understood():
    name = f"paretofleet-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.setblocking(False)
        Notifier(f"@{name}").ready()
        assert heard(channel) == ["READY=1"]


def test_waiting_gives_signs_of_life_and_ends_with_a_stop(manager):
    stop = threading.Event()
    wait = living_wait(stop, Notifier(manager.getsockname(), 0.02))
    wait(0.05)
    assert heard(manager).count("WATCHDOG=1") >= 2
    stop.set()
    start = time.monotonic()
    wait(60.0)
    assert time.monotonic() - start < 1.0


def test_a_long_training_gives_signs_of_life(open_box):
    agent = open_box()
    signs = []
    object.__setattr__(agent.box.world, "alive", lambda: signs.append(agent.state.step))
    agent.run_once()

    assert len(signs) >= 2
    assert not {"new", "active"} & set(signs)


def test_downloads_give_signs_of_life(open_box):
    agent = open_box()
    signs = []
    agent.box.client._alive = lambda: signs.append(agent.state.step)  # noqa: SLF001
    agent.run_once()

    assert signs.count("assigned") >= 3


def test_a_run_is_ready_says_its_steps_and_stops(manager, fleet, tmp_path, data):
    fleet.action = "idle"
    measured_folder(tmp_path / "s")
    with served(fleet) as server:
        result = CliRunner().invoke(
            app,
            ["once", "--server", server, "--data", str(data), "--state", str(tmp_path / "s"),
             "--enrol-token", ENROL_TOKEN],
            env={"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"},
        )  # fmt: skip
    messages = heard(manager)

    assert result.exit_code == 0, result.output
    assert messages[:2] == ["READY=1", "STATUS=new"]
    assert messages[-1] == "STOPPING=1"
    assert "STATUS=idle" in messages
    assert "WATCHDOG=1" in messages


def test_a_service_lives_until_it_is_stopped_and_ends_with_0(manager, fleet, tmp_path):
    """The program itself, between two polls: it is told to wait an hour and must stay alive."""
    fleet.action, fleet.next_poll_s = "idle", "3600"
    manager.settimeout(60)
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
    with served(fleet) as server:
        command = [sys.executable, "-m", "device_agent", "run", "--server", server, "--state",
                   str(measured_folder(tmp_path / "s")), "--enrol-token", ENROL_TOKEN]  # fmt: skip
        with subprocess.Popen(command, env=quiet_environment() | environ, stderr=PIPE) as child:
            said = []
            while "STATUS=idle" not in said or said[-3:] != ["WATCHDOG=1"] * 3:
                said.append(manager.recv(4096).decode())
            child.send_signal(signal.SIGTERM)
            while said[-1] != "STOPPING=1":
                said.append(manager.recv(4096).decode())
            child.communicate(timeout=60)

    assert child.returncode == 0
    assert said[0] == "READY=1"
