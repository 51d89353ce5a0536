"""Caps through systemd: found by trying, never waited for long, and used only when need be."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_agent.training.cap_probe import probe_cap_kinds
from device_agent.training.confine import Confinement, confine
from device_agent.training.scope import SYSTEMD_SCOPE, Scopes, try_scopes
from device_agent.training.trainer import Trainer
from tests.device_agent.conftest import FAKE_TRAINER, job_in

FAKE = """#!{python} -S
# Does what systemd-run does of what is asked of it here: a group with a limit, then exec.
import os, sys, time
from pathlib import Path
root, log, mode = Path({root!r}), Path({log!r}), {mode!r}
arguments = sys.argv[1:]
at = arguments.index("--")
options, command = arguments[:at], arguments[at + 1:]
with log.open("a") as file:
    file.write(" ".join(options) + "\\n")
if mode == "hangs":
    time.sleep(60)
if mode == "refuses" or (mode == "user only" and "--system" in options):
    sys.exit("Failed to start transient scope unit: Connection refused")
if mode == "fails later" and "trial" not in " ".join(options):
    sys.exit("Failed to start transient scope unit: Connection reset")
limit = next(o.split("=")[1] for o in options if o.startswith("MemoryMax="))
group = root / "sys/fs/cgroup/app.slice"
group.mkdir(parents=True, exist_ok=True)
(group / "memory.max").write_text("max" if mode == "forgets" else limit)
os.execvp(command[0], command)
"""


@pytest.fixture
def root(tmp_path):
    """A box whose processes lie in a group that only systemd may divide."""
    files = {
        "proc/self/cgroup": "0::/app.slice\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "sys/fs/cgroup/app.slice/memory.max": "max\n",
    }
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "root"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "asked.log"


@pytest.fixture
def systemd_run(tmp_path, root, log):
    def write(mode="works") -> str:
        path = tmp_path / "systemd-run"
        text = FAKE.format(python=sys.executable, root=str(root), log=str(log), mode=mode)
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    return write


def test_a_scope_that_shows_its_limit_is_believed(systemd_run, root, log):
    scopes = try_scopes(systemd_run(), root)

    assert scopes is not None
    assert "--scope" in log.read_text()
    assert "MemorySwapMax=0" in log.read_text()


@pytest.mark.parametrize("mode", ["refuses", "forgets"])
def test_a_scope_that_is_refused_or_has_no_limit_is_not(systemd_run, root, mode):
    assert try_scopes(systemd_run(mode), root) is None


def test_the_user_s_own_manager_does_where_the_system_s_refuses(systemd_run, root):
    scopes = try_scopes(systemd_run("user only"), root)

    assert scopes is not None
    assert scopes.manager == "--user"


def test_a_manager_that_never_answers_is_given_up_soon(systemd_run, root):
    start = time.monotonic()

    assert try_scopes(systemd_run("hangs"), root, timeout_s=0.2) is None
    assert time.monotonic() - start < 5


def test_no_such_program_is_no_scope(tmp_path):
    assert try_scopes(str(tmp_path / "systemd-run")) is None


def test_the_program_of_this_machine_answers_or_is_given_up():
    """Whatever it is that runs here: an answer, and one that holds."""
    scopes = try_scopes("systemd-run")

    if scopes is not None:
        command = [*scopes.command("paretofleet-test.scope", 1 << 28), "true"]
        assert subprocess.run(command, check=False, timeout=10).returncode == 0


def test_systemd_is_not_asked_where_a_control_group_is_writable():
    confinement = confine(1 << 28, Path("/"), lambda: pytest.fail("it was asked"))
    confinement.remove()
    if confinement.group is None:
        pytest.skip("no control group is writable here")


@pytest.fixture
def scoped(systemd_run, root):
    def make(mode: str, systemd: str = "works") -> Trainer:
        scopes = try_scopes(systemd_run(systemd), root)
        command = (sys.executable, "-S", str(FAKE_TRAINER), mode)
        return Trainer(command=command, root=root, scopes=lambda: scopes)

    return make


def test_a_trainer_runs_in_the_scope_and_says_so(scoped, tmp_path, log):
    run = scoped("good").run(job_in(tmp_path))

    assert run.result.status == "done"
    assert run.cap_kinds == (SYSTEMD_SCOPE, "rlimit_data", "rss_watchdog")
    assert "MemoryMax=90000000" in log.read_text().splitlines()[-1]


def test_the_watchdog_still_holds_in_a_scope(scoped, tmp_path):
    assert scoped("hog").run(job_in(tmp_path)).ending == "over_cap"


def test_a_scope_that_fails_later_is_done_without(scoped, tmp_path):
    run = scoped("good", "fails later").run(job_in(tmp_path))

    assert run.result.status == "done"
    assert run.cap_kinds == ("rlimit_data", "rss_watchdog")


def test_the_profile_names_the_scope(systemd_run, root):
    scopes = try_scopes(systemd_run(), root)

    assert probe_cap_kinds(root, lambda: scopes)[0] == SYSTEMD_SCOPE
    assert probe_cap_kinds(root, lambda: None) == ("rlimit_data", "rss_watchdog")


@pytest.mark.parametrize(
    ("returncode", "peak", "expected"),
    [(-9, 95, True), (-9, 50, False), (1, 95, False), (-15, 95, False)],
)
def test_a_kill_near_the_cap_was_the_scope_s(returncode, peak, expected):
    scopes = Scopes("systemd-run", "--user")
    inside = Confinement(kind=SYSTEMD_SCOPE, prefix=scopes.command("u.scope", 100))

    assert inside.ended_it(returncode, peak, 100) is expected
    assert not Confinement().ended_it(returncode, peak, 100)
