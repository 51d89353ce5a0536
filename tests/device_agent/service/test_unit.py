"""The text of the systemd unit: what it holds, how it quotes, what systemd itself says of it."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.service.service import sandbox_of
from device_agent.service.unit import (
    UNIT_NAME,
    WATCHDOG_S,
    Plan,
    config_text,
    quoted,
    sysusers_text,
    unit_text,
    user_trouble,
)
from device_agent.training.children import quiet_environment

MOST_EXPOSURE = 2.0
ANALYZE = shutil.which("systemd-analyze") or ""
needs_analyze = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
printable = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40
).filter(str.isprintable)


def plan(**changes):
    given = {
        "command": ("/usr/bin/python3", "-m", "device_agent", "run"), "user": "paretofleet",
        "state": Path("/var/lib/paretofleet-agent"), "state_in_unit": False,
        "reads": (Path("/opt/agent"), Path("/srv/images")), "ram_cap_bytes": 700_000_000,
        "devices": False,
    }  # fmt: skip
    return Plan(**(given | changes))


def unit(**changes):
    return sandbox_of(unit_text(plan(**changes)))


def test_it_runs_as_its_own_user_under_a_watchdog_and_is_started_again():
    said = unit()

    assert said["User"] == said["Group"] == ["paretofleet"]
    assert said["Type"] == ["notify"]
    assert said["NotifyAccess"] == ["main"]
    assert said["WatchdogSec"] == [str(WATCHDOG_S)]
    assert said["Restart"] == ["always"]
    assert said["StartLimitIntervalSec"] == ["0"]
    assert said["WantedBy"] == ["multi-user.target"]
    assert said["ExecStart"] == ["/usr/bin/python3 -m device_agent run"]


def test_a_stop_reaches_the_agent_alone_so_that_the_trainer_keeps_its_checkpoint():
    assert unit()["KillMode"] == ["mixed"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("NoNewPrivileges", ["yes"]),
        ("CapabilityBoundingSet", [""]),
        ("ProtectSystem", ["strict"]),
        ("ProtectHome", ["yes"]),
        ("PrivateTmp", ["yes"]),
        ("PrivateDevices", ["yes"]),
        ("MemoryDenyWriteExecute", ["yes"]),
        ("RestrictAddressFamilies", ["AF_UNIX AF_INET AF_INET6"]),
        ("SystemCallFilter", ["@system-service", "~@privileged"]),
        ("Delegate", ["memory"]),
    ],
)
def test_the_sandbox_is_closed(key, values):
    assert unit()[key] == values


def test_the_kernel_holds_the_cap_and_an_ended_trainer_ends_nothing_else():
    said = unit()

    assert said["MemoryMax"] == ["700000000"]
    assert said["MemorySwapMax"] == ["0"]
    assert said["OOMPolicy"] == ["continue"]
    assert "MemoryMax" not in unit(ram_cap_bytes=None)


def test_control_groups_stay_writable_for_the_delegated_part():
    assert "ProtectControlGroups" not in unit()


def test_a_state_folder_elsewhere_is_the_one_place_to_write():
    usual, other = unit(), unit(state=Path("/data/a box"))

    assert usual["StateDirectory"] == ["paretofleet-agent"]
    assert "ReadWritePaths" not in usual
    assert other["ReadWritePaths"] == ['"/data/a box"']
    assert "StateDirectory" not in other


def test_a_watched_folder_may_be_written_and_may_be_missing():
    said = unit(writes=(Path("/srv/watched"), Path("/home/ann/in")))

    assert said["ReadWritePaths"] == ["-/srv/watched", "-/home/ann/in"]
    assert said["BindPaths"] == ["/home/ann/in"]


def test_what_lies_in_a_home_or_in_tmp_is_bound_in_read_only():
    said = unit(reads=(Path("/home/ann/venv"), Path("/tmp/images"), Path("/srv/x")))  # noqa: S108

    assert said["ProtectHome"] == ["tmpfs"]
    assert said["BindReadOnlyPaths"] == ["/home/ann/venv /tmp/images"]
    assert unit(state=Path("/home/ann/state"))["BindPaths"] == ["/home/ann/state"]


def test_accelerators_are_let_in_by_name_only():
    said = unit(devices=True)

    assert said["DevicePolicy"] == ["closed"]
    assert "PrivateDevices" not in said


def test_the_state_is_named_in_the_unit_where_the_configuration_does_not():
    assert unit(state_in_unit=True)["Environment"] == [
        "PARETOFLEET_AGENT_STATE=/var/lib/paretofleet-agent"
    ]


@settings(deadline=None)
@given(printable)
def test_a_quoted_word_is_read_back_as_it_was(text):
    """By the rules of systemd.syntax(7): quotes, backslashes, then specifiers and variables."""
    word = quoted(text, command=True)
    if word.startswith('"'):
        assert word.endswith('"')
        inner = word[1:-1]
        assert not re.search(r'(?<!\\)(\\\\)*"', inner)
        word = re.sub(r"\\(.)", r"\1", inner)
    else:
        assert not set(word) & set(" '\"\\")
    assert word.replace("%%", "%").replace("$$", "$") == text


@settings(deadline=None)
@given(st.text(max_size=10).filter(lambda text: not text.isprintable()))
def test_what_a_unit_cannot_hold_is_refused(text):
    with pytest.raises(ValueError, match="cannot hold"):
        quoted(text)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,10}", fullmatch=True),
        st.one_of(
            st.text(max_size=20), st.integers(-(2**53), 2**53), st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False, width=32),
            st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), min_size=1),
        ),
    )
)  # fmt: skip
def test_a_configuration_is_read_back_as_it_was(values):
    assert tomllib.loads(config_text(list(values.items()))) == values


@pytest.mark.parametrize("user", ["root", "Ann", "a b", "", "x" * 40, "-x", "x;y"])
def test_a_user_that_will_not_do_is_named(user):
    assert user_trouble(user)


def test_the_user_owns_nothing():
    assert user_trouble("line-3_agent") is None
    assert sysusers_text("agent", Path("/var/lib/a")) == (
        'u agent - "Paretofleet agent" /var/lib/a -\n'
    )


@needs_analyze
@pytest.mark.parametrize(
    "changes",
    [{}, {"devices": True, "ram_cap_bytes": None}, {"state": Path("/data/a box")},
     {"reads": (Path("/home/ann/v:env"),), "state_in_unit": True}],
)  # fmt: skip
def test_systemd_takes_every_line(changes, tmp_path):
    file = tmp_path / UNIT_NAME
    file.write_text(unit_text(plan(**changes)))
    done = subprocess.run(
        [ANALYZE, "verify", str(file)], capture_output=True, text=True, check=False
    )

    assert UNIT_NAME not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@needs_analyze
def test_systemd_calls_the_service_little_exposed(tmp_path):
    file = tmp_path / UNIT_NAME
    file.write_text(unit_text(plan()))
    done = subprocess.run(
        [ANALYZE, "security", "--offline=yes", "--no-pager", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)

    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSURE


DENY_THEN_RUN = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0) != 0:
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_the_runtime_works_where_no_memory_is_both_writable_and_executable():
    """``MemoryDenyWriteExecute`` by the kernel's own switch, PR_SET_MDWE (Linux 6.3)."""
    done = subprocess.run(
        [sys.executable, "-c", DENY_THEN_RUN, "-m", "device_agent.machine.probe"],
        capture_output=True, text=True, check=False, env=quiet_environment(),
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runtime_floor_bytes"] > 0
