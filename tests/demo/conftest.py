"""What the demo's tests share: programs that are small scripts, and no signal handler left."""

import signal
import sys
from pathlib import Path

import pytest

from demo import processes


@pytest.fixture(autouse=True)
def handlers():
    """Put back what a test, or what it tested, did to the handlers of signals."""
    before = {number: signal.getsignal(number) for number in processes.STOPPING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def programs():
    """Return a list of programs; what is still running at the end of a test is ended."""
    started: list[processes.Program] = []
    yield started
    processes.stop_all(started, within_s=1.0)


@pytest.fixture
def run(tmp_path, programs):
    """Return a function that starts a python script as one of the demo's programs."""

    def started(script, name="box"):
        path = tmp_path / f"{name}.py"
        path.write_text(script)
        python = Path(sys.executable).name
        return processes.start(
            name, python, str(path), log=tmp_path / f"{name}.log", programs=programs
        )

    return started
