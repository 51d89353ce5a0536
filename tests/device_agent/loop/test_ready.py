"""The operator's program that says whether the line lets the box train."""

import os
import select
import time

import pytest

from device_agent.loop.ready import ask_hook, hook_trouble


@pytest.fixture
def hook(tmp_path):
    def write(*lines, mode=0o755):
        path = tmp_path / "ready"
        path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
        path.chmod(mode)
        return path

    return write


def test_without_a_hook_the_line_is_ready():
    assert ask_hook(None).ready
    assert hook_trouble(None) is None


def test_exit_code_zero_means_ready(hook):
    program = hook("echo nothing on the belt", "exit 0")

    assert ask_hook(program).ready
    assert hook_trouble(program) is None


@pytest.mark.parametrize("code", [1, 75])
def test_any_other_code_means_busy_and_the_first_line_says_why(hook, code):
    answer = ask_hook(hook("echo order 17 runs until 14:00", "echo more", f"exit {code}"))

    assert not answer.ready
    assert not answer.broken
    assert answer.reason == "the line is busy: order 17 runs until 14:00"


def test_a_silent_hook_is_quoted_by_its_code(hook):
    assert ask_hook(hook("exit 3")).reason.endswith("ended with 3")


def test_control_characters_are_not_passed_on(hook):
    assert ask_hook(hook(r"printf 'a\033[31mb\n'", "exit 1")).reason.isprintable()


@pytest.mark.parametrize(
    ("mode", "lines", "said"),
    [
        (0o644, ["exit 0"], "may not be run"),
        (0o755, ["sleep 30"], "did not end within"),
    ],
)
def test_a_hook_that_does_not_work_puts_training_off_and_says_so(hook, mode, lines, said):
    if mode == 0o644 and os.geteuid() == 0 and os.access(hook("exit 0", mode=mode), os.X_OK):
        pytest.skip("root may run anything here")
    answer = ask_hook(hook(*lines, mode=mode), 0.3)

    assert not answer.ready
    assert answer.broken
    assert said in answer.reason


def test_a_hook_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "no-hook"

    assert "is no file" in hook_trouble(missing)
    assert ask_hook(missing).broken


def test_a_hook_with_a_broken_first_line_is_named(tmp_path):
    program = tmp_path / "ready"
    program.write_text("#!/no/such/shell\n")
    program.chmod(0o755)

    assert "cannot be run" in ask_hook(program).reason


def test_what_a_hook_leaves_behind_is_ended_and_not_waited_for(hook, tmp_path):
    started = time.monotonic()
    pid_file = tmp_path / "pid"
    answer = ask_hook(hook(f"sleep 30 & echo $! > {pid_file}", "exit 0"))

    assert answer.ready
    assert time.monotonic() - started < 20
    assert _ends(int(pid_file.read_text()))


def _ends(pid):
    """Return whether the process ends within five seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 5)[0])
    finally:
        os.close(handle)


def test_a_hook_that_says_much_does_not_fill_the_agent(hook):
    answer = ask_hook(hook("head -c 3000000 /dev/zero | tr '\\0' x", "exit 1"))

    assert len(answer.reason) < 1000


def test_the_hook_gets_no_input_and_a_quiet_environment(hook):
    answer = ask_hook(hook("read line && exit 0", 'echo "$ORT_DISABLE_TELEMETRY"', "exit 1"))

    assert answer.reason == "the line is busy: 1"
