import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from demo.processes import (
    STOPPING_SIGNALS,
    ProgramFailedError,
    free_port,
    held_back,
    run_tool,
    stop_all,
    wait_until_listening,
)

READY = "import json, time\nprint(json.dumps({'event': 'ready', 'done': 1}), flush=True)\n"
STAYS = READY + "time.sleep(60)\n"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS
POLITE = (
    "import pathlib, signal, sys\n"
    "def end(*_):\n    pathlib.Path(__file__).with_suffix('.bye').touch()\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n" + STAYS
)
PARENT = (
    "import json, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
    " stdout=subprocess.DEVNULL)\n"
    "print(json.dumps({'event': 'ready', 'child': child.pid}), flush=True)\n"
    "time.sleep(60)\n"
)


def until(condition, within_s=10.0):
    """Wait for another process, which cannot be told to hurry."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ready(program):
    until(lambda: program.progress.get("event") == "ready")
    return program


def is_running(pid):
    """Say whether the process runs; a zombie that its reaper has not seen yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  # the kernel's file
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_is_followed_and_stops_when_asked(run, tmp_path):
    program = ready(run(POLITE))
    program.check()

    program.stop()

    assert program.process.returncode == 0
    assert (tmp_path / "box.bye").exists()
    assert not program.follower.is_alive()


def test_a_program_that_does_not_listen_is_ended(run):
    program = ready(run(DEAF))

    program.stop(within_s=0.2)

    assert program.process.returncode == -signal.SIGKILL


def test_what_a_program_started_itself_is_ended_with_it(run):
    program = ready(run(PARENT))
    child = program.progress["child"]
    assert is_running(child)

    program.stop()

    until(lambda: not is_running(child))


def test_what_a_crashed_program_left_behind_is_ended_too(run):
    program = ready(run(PARENT))
    child = program.progress["child"]
    program.process.kill()
    program.process.wait()

    program.stop()

    until(lambda: not is_running(child))


def test_stopping_twice_is_no_error(run):
    program = ready(run(STAYS))

    program.stop()
    program.stop()


def test_the_boxes_are_asked_together_and_the_server_last(run, programs, tmp_path):
    slow = POLITE.replace("    sys.exit(0)", "    time.sleep(0.5)\n    sys.exit(0)")
    for name in ("server", "one", "two", "three"):
        run(slow, name)
    for program in programs:
        ready(program)
    before = time.monotonic()

    stop_all(programs)

    assert time.monotonic() - before < 1.9
    times = {n: (tmp_path / f"{n}.bye").stat().st_mtime_ns for n in ("server", "one", "three")}
    assert times["server"] - max(times["one"], times["three"]) > 0.3e9


def test_a_second_ctrl_c_does_not_leave_programs_behind(run, programs):
    program = ready(run(DEAF))

    stop_all(programs, within_s=0.1)
    for number in STOPPING_SIGNALS:
        os.kill(os.getpid(), number)

    assert program.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", STOPPING_SIGNALS)
def test_a_signal_while_a_program_starts_comes_when_it_has_been_noted(number):
    steps = []

    def start_and_note():
        with held_back():
            os.kill(os.getpid(), number)
            steps.append("noted")

    with pytest.raises(KeyboardInterrupt):
        start_and_note()
    assert steps == ["noted"]


def test_without_a_signal_nothing_is_raised_and_handlers_are_as_before():
    before = [signal.getsignal(number) for number in STOPPING_SIGNALS]

    with held_back():
        pass

    assert [signal.getsignal(number) for number in STOPPING_SIGNALS] == before


def test_a_program_that_cannot_be_started_leaves_the_list_as_it_was(programs, tmp_path):
    from demo.processes import start  # noqa: PLC0415

    with pytest.raises(FileNotFoundError):
        start("box", "no-such-script", log=tmp_path / "box.log", programs=programs)

    assert programs == []


def test_a_program_that_ended_shows_the_end_of_its_log(run):
    lines = "".join(f"print('line {n}', file=sys.stderr)\n" for n in range(40))
    program = run(f"import sys\n{lines}sys.exit(3)\n")
    program.process.wait()

    with pytest.raises(ProgramFailedError) as caught:
        program.check()

    said = str(caught.value)
    assert "box ended with exit status 3" in said
    assert str(program.log) in said
    assert "line 39" in said
    assert "line 24" not in said


def test_a_program_that_was_killed_says_by_which_signal(run):
    program = ready(run(STAYS))
    program.process.kill()
    program.process.wait()

    with pytest.raises(ProgramFailedError, match=r"signal 9 \(Killed\)[\s\S]*\(nothing\)"):
        program.check()


def test_output_that_is_no_progress_line_is_passed_over(run):
    program = run("print('hello')\nprint('[1]')\nprint('{')\n" + STAYS)

    assert ready(program).progress == {"event": "ready", "done": 1}


def test_waiting_for_a_server_that_ends_shows_its_log(run):
    program = run("import sys\nsys.exit('no database')\n", "server")

    with pytest.raises(ProgramFailedError, match="no database"):
        wait_until_listening(program, free_port(0))


def test_waiting_ends_when_the_port_answers(run):
    port = free_port(0)
    listening = (
        "import socket, time\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\ntime.sleep(60)\n"
    )

    wait_until_listening(run(listening, "server"), port)


def test_a_free_port_is_kept_and_a_busy_one_replaced():
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        other = free_port(taken)
        assert other != taken

    assert free_port(taken) == taken
    assert free_port(other) == other


def test_a_tool_gives_its_output_or_says_why_not():
    python = sys.executable.rpartition("/")[2]

    assert run_tool(python, "-c", "print(' 42 ')") == "42"
    with pytest.raises(RuntimeError, match="failed:\nwhat to do"):
        run_tool(python, "-c", "import sys; sys.exit('what to do')")


def test_a_tool_sees_the_environment_that_it_is_given():
    python = sys.executable.rpartition("/")[2]

    said = run_tool(python, "-c", "import os; print(os.environ['OWN'])", env={"OWN": "x"})

    assert said == "x"


@pytest.mark.parametrize("number", STOPPING_SIGNALS)
def test_a_demo_that_is_stopped_while_it_starts_programs_leaves_none(tmp_path, number):
    """A stand-in for the demo: it starts programs for ever, until the signal comes."""
    (tmp_path / "box.py").write_text("import time\ntime.sleep(60)\n")
    script = (
        "import pathlib, signal, sys\n"
        "from demo.__main__ import _interrupt\n"
        "from demo.processes import STOPPING_SIGNALS, start, stop_all\n"
        "for number in STOPPING_SIGNALS: signal.signal(number, _interrupt)\n"
        "folder, programs = pathlib.Path(sys.argv[1]), []\n"
        "python = pathlib.Path(sys.executable).name\n"
        "try:\n"
        "    while len(programs) < 50:\n"
        "        name = f'box{len(programs)}'\n"
        "        made = start(name, python, str(folder / 'box.py'), log=folder / 'log',"
        " programs=programs)\n"
        "        print(made.process.pid, flush=True)\n"
        "except KeyboardInterrupt: pass\n"
        "finally: stop_all(programs)\n"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with demo:
        pids = [demo.stdout.readline() for _ in range(3)]
        demo.send_signal(number)
        pids += demo.stdout.read().splitlines()

    assert demo.returncode == 0
    assert 3 <= len(pids) < 50
    assert not [pid for pid in pids if is_running(int(pid))]


def test_a_demo_that_is_killed_takes_its_programs_with_it(tmp_path):
    (tmp_path / "box.py").write_text("import time\ntime.sleep(60)\n")
    script = (
        "import pathlib, sys, time\n"
        "from demo.processes import start\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "python = pathlib.Path(sys.executable).name\n"
        "made = start('box', python, str(folder / 'box.py'), log=folder / 'log', programs=[])\n"
        "print(made.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    demo = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with demo:
        pid = int(demo.stdout.readline())
        assert is_running(pid)
        demo.kill()

    until(lambda: not is_running(pid))
