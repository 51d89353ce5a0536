"""Installing, removing and looking at the service, on a machine that is a folder."""

import stat
import sys
import tomllib
from pathlib import Path

import pytest

from device_agent.config import SYSTEM_FILE, gather
from device_agent.errors import ServiceError
from device_agent.service.service import (
    Done,
    Machine,
    call_program,
    check_importable,
    install,
    look,
    plan_files,
    sandbox_of,
    state_of,
    uninstall,
)
from device_agent.service.unit import DEFAULT_STATE, SYSUSERS_FILE, TOKEN_FILE, UNIT_FILE, UNIT_NAME

CANARY = "canary-enrol-token"


class Calls:
    """What was called, in order; ``answers`` are by the program's first word."""

    def __init__(self, **answers):
        self.made = []
        self.answers = answers

    def __call__(self, command):
        self.made.append(list(command))
        return self.answers.get(Path(command[0]).name, Done(0, ""))


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def machine(tmp_path, calls):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return Machine(root=tmp_path, call=calls, is_root=lambda: True)


@pytest.fixture
def effective(tmp_path):
    flags = {
        "server": "http://fleet", "data": str(tmp_path / "images"), "ram_cap": "700MB",
        "enrol_token": CANARY, "labels": {"line": "3"},
    }  # fmt: skip
    return gather(flags, None)


def texts(files):
    return {file.path: file.text for file in files}


def test_it_writes_unit_user_settings_and_token_and_starts_it(machine, effective, calls):
    install(plan_files(effective, "paretofleet", machine), "paretofleet", machine, start=True)

    assert machine.at(UNIT_FILE).read_text().startswith("[Unit]\n")
    assert machine.at(SYSUSERS_FILE).read_text().startswith("u paretofleet ")
    written = tomllib.loads(machine.at(SYSTEM_FILE).read_text())
    assert written["server"] == "http://fleet"
    assert written["ram_cap"] == 700_000_000
    assert written["labels"] == {"line": "3"}
    assert written["state"] == str(DEFAULT_STATE)
    assert [call[:2] for call in calls.made[1:]] == [
        ["systemd-sysusers", str(SYSUSERS_FILE)], ["systemctl", "daemon-reload"],
        ["systemctl", "enable"],
    ]  # fmt: skip
    assert calls.made[-1] == ["systemctl", "enable", "--now", UNIT_NAME]


def test_the_settings_that_it_writes_can_be_read_and_say_the_same(machine, effective):
    install(plan_files(effective, "paretofleet", machine), "paretofleet", machine, start=False)
    again = gather({}, machine.at(SYSTEM_FILE)).settings

    for name in ("server", "data", "ram_cap", "labels"):
        assert getattr(again, name) == getattr(effective.settings, name)


def test_the_token_lies_in_a_file_of_root_alone_and_nowhere_else(machine, effective):
    files = plan_files(effective, "paretofleet", machine)
    install(files, "paretofleet", machine, start=True)
    token = machine.at(TOKEN_FILE)

    assert token.read_text() == f"{CANARY}\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert [f.path for f in files if CANARY in f.text] == [TOKEN_FILE]
    assert sandbox_of(texts(files)[UNIT_FILE])["LoadCredential"] == [f"enrol-token:{TOKEN_FILE}"]


def test_without_a_token_none_is_written(machine):
    files = plan_files(gather({"server": "http://x"}, None), "paretofleet", machine)

    assert TOKEN_FILE not in texts(files)


def test_settings_that_are_there_stay(machine, effective):
    there = machine.at(SYSTEM_FILE)
    there.parent.mkdir(parents=True)
    there.write_text("# mine\n")
    install(plan_files(effective, "paretofleet", machine), "paretofleet", machine, start=True)

    assert there.read_text() == "# mine\n"


def test_a_named_file_is_what_the_service_reads(machine, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('server = "http://x"\nstate = "box"\n')
    files = texts(plan_files(gather({}, file), "paretofleet", machine))
    said = sandbox_of(files[UNIT_FILE])

    assert said["ExecStart"][0].endswith(f"--config {file}")
    assert "Environment" not in said
    assert set(files) == {UNIT_FILE, SYSUSERS_FILE} | ({SYSTEM_FILE} & set(files))


def test_a_file_that_names_no_state_folder_is_helped_out(machine, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('server = "http://x"\n')
    unit = texts(plan_files(gather({}, file), "paretofleet", machine))[UNIT_FILE]

    assert sandbox_of(unit)["Environment"] == [f"PARETOFLEET_AGENT_STATE={DEFAULT_STATE}"]


def test_a_state_folder_elsewhere_is_made_for_the_user(machine, calls, tmp_path):
    given = {"server": "http://x", "state": "/srv/a box"}
    install(plan_files(gather(given, None), "ann", machine), "ann", machine, start=True)
    made = next(call for call in calls.made if call[0] == "install")

    assert made == ["install", "-d", "-m", "0700", "-o", "ann", "-g", "ann", "/srv/a box"]
    assert not (tmp_path / "srv").exists()


@pytest.mark.parametrize("name", ["/srv/plain", "/srv/a box", '/srv/q"uo%te', "/srv/back\\slash"])
def test_the_state_folder_is_read_back_from_the_unit(machine, name):
    files = plan_files(gather({"server": "http://x", "state": name}, None), "ann", machine)

    assert state_of(files[0].text) == Path(name)


def test_a_watched_folder_is_let_in(machine):
    given = {"server": "http://x", "watch_folder": "/srv/in"}
    unit = texts(plan_files(gather(given, None), "ann", machine))[UNIT_FILE]

    assert sandbox_of(unit)["ReadWritePaths"] == ["-/srv/in"]
    assert state_of(unit) is None


@pytest.mark.parametrize("user", ["root", "A b"])
def test_a_bad_user_is_refused(machine, effective, user):
    with pytest.raises(ServiceError, match="user"):
        plan_files(effective, user, machine)


def test_a_server_must_be_known(machine):
    with pytest.raises(ServiceError, match="--server"):
        plan_files(gather({}, None), "paretofleet", machine)


def test_without_systemd_it_says_what_to_do_and_touches_nothing(tmp_path, effective, calls):
    bare = Machine(root=tmp_path / "bare", call=calls, is_root=lambda: True)
    for act in (
        lambda: install(plan_files(effective, "p", bare), "p", bare, start=True),
        lambda: uninstall(bare),
        lambda: look(bare),
    ):
        with pytest.raises(ServiceError, match="supervisor start `device_agent run`"):
            act()
    assert not (tmp_path / "bare").exists()
    assert calls.made == []


def test_who_is_not_root_is_told_so(machine, effective, calls):
    plain = Machine(root=machine.root, call=calls, is_root=lambda: False)

    with pytest.raises(ServiceError, match="sudo"):
        install(plan_files(effective, "p", plain), "p", plain, start=True)
    assert not plain.at(UNIT_FILE).exists()


def test_a_program_that_fails_is_quoted(machine, effective):
    failing = Machine(
        root=machine.root, is_root=lambda: True,
        call=Calls(**{"systemd-sysusers": Done(1, "no such user database")}),
    )  # fmt: skip

    with pytest.raises(ServiceError, match="no such user database"):
        install(plan_files(effective, "p", failing), "p", failing, start=True)


def test_removing_keeps_settings_token_and_state(machine, effective, calls):
    install(plan_files(effective, "paretofleet", machine), "paretofleet", machine, start=True)
    calls.made.clear()

    assert uninstall(machine) == [str(UNIT_FILE), str(SYSUSERS_FILE)]
    assert calls.made[0] == ["systemctl", "disable", "--now", UNIT_NAME]
    assert not machine.at(UNIT_FILE).exists()
    assert machine.at(SYSTEM_FILE).exists()
    assert machine.at(TOKEN_FILE).exists()
    assert uninstall(machine) == []


def test_what_systemd_says_is_passed_on(tmp_path):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    said = "ActiveState=active\nStatusText=training = 3\nUser=paretofleet"
    machine = Machine(root=tmp_path, call=Calls(systemctl=Done(0, said)))

    assert look(machine) == {
        "ActiveState": "active", "StatusText": "training = 3", "User": "paretofleet"
    }  # fmt: skip


def test_a_python_that_lacks_the_agent_is_found_out(machine):
    lacking = Machine(
        root=machine.root,
        call=Calls(**{Path(sys.executable).name: Done(1, "No module named device_agent")}),
    )

    with pytest.raises(ServiceError, match="No module named"):
        check_importable(lacking)


def test_programs_are_really_called():
    assert call_program([sys.executable, "-c", "print('hello')"]) == Done(0, "hello")
    assert call_program(["/no/such/program"]).code == 127
