"""What people see of progress: a bar with the time left, or lines, or nothing."""

import contextlib
import io
import json
import os
from unittest import mock

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.finetune import FinetuneProgress
from device_agent.display import (
    JsonLines,
    LogLines,
    ProgressBar,
    TimeLeft,
    print_columns,
    print_status,
    progress,
    progress_writer,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@contextlib.contextmanager
def terminal():
    """Let standard error be a terminal of 100 columns; yields what it shows."""
    shown = Terminal()
    size = {"COLUMNS": "100", "TERM": "xterm"}
    with mock.patch.dict(os.environ, size), contextlib.redirect_stderr(shown):
        yield shown


def line(event, done, total, **more):
    return FinetuneProgress(event=event, done=done, total=total, **more)


def test_a_terminal_shows_what_how_many_and_the_time_left():
    with terminal() as screen, progress(40, "images") as advance:
        for _ in range(40):
            advance(1)

    shown = screen.getvalue()
    assert "images" in shown
    assert "40/40" in shown
    assert "left" in shown
    assert "0:00:00" in shown


def test_the_bar_goes_when_the_work_fails():
    with terminal() as screen, pytest.raises(RuntimeError), progress(3, "images"):
        raise RuntimeError

    assert "\x1b[?25h" in screen.getvalue()


def test_elsewhere_nothing_is_shown(capsys):
    with progress(2, "images") as advance:
        advance(2)

    assert capsys.readouterr() == ("", "")


def test_a_training_on_a_terminal_shows_loss_memory_and_the_time_left():
    with terminal() as screen:
        bar = progress_writer(as_json=False)
        assert isinstance(bar, ProgressBar)
        bar(line("load", 5, 10))
        for done in range(1, 5):
            bar(line("step", done, 4, loss=0.25, rss_bytes=98_000_000))
        bar(line("done", 4, 4))

    shown = screen.getvalue()
    for word in ("left", "4/4", "done"):
        assert word in shown


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0.01, 10)), min_size=1, max_size=20))
def test_at_a_steady_pace_the_time_left_is_exact(steps):
    total, pace_s = sum(n for n, _ in steps) + 7, steps[0][1]
    now = [100.0]
    left = TimeLeft(lambda: now[0])
    assert left.after(0, total) is None
    done = 0
    for n, _ in steps:
        done += n
        now[0] += n * pace_s
        assert left.after(done, total) == pytest.approx((total - done) * pace_s)


def test_another_phase_or_a_count_that_begins_anew_has_a_pace_of_its_own():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    left.after(0, 10, "load")
    now[0] = 100.0
    assert left.after(10, 10, "load") == 0.0
    assert left.after(0, 4, "train") is None
    now[0] = 101.0
    assert left.after(1, 4, "train") == 3.0
    fresh = TimeLeft(lambda: now[0])
    fresh.after(3, 4)
    assert fresh.after(1, 4) is None


def test_json_lines_carry_the_time_left(capsys):
    write = progress_writer(as_json=True)
    assert isinstance(write, JsonLines)
    write(line("step", 0, 2))
    write(line("step", 1, 2))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())

    assert first["left_s"] is None
    assert second["left_s"] >= 0
    assert second["event"] == "step"


def test_log_lines_leave_single_steps_out():
    with structlog.testing.capture_logs() as logs:
        write = LogLines()
        write(line("step", 1, 4))
        write(line("epoch", 2, 4, loss=0.5))

    assert [(entry["what"], "left_s" in entry) for entry in logs] == [("epoch", True)]


def test_words_in_brackets_and_long_words_come_out_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_status({"why": "[bold]no[/x] markup", "key": "x" * 100})
    print_columns(("a", "b"), [("[/y]", "z" * 200)])
    shown = "".join(capsys.readouterr().out.split())

    assert "[bold]no[/x]markup" in shown
    assert "x" * 100 in shown.replace("key", "")
    assert "[/y]" in shown
    assert "z" * 200 in shown
