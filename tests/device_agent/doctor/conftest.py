"""A box that has run and stopped, and a doctor that need not measure this machine each time."""

import functools

import pytest

from device_agent.commands import doctor as command
from device_agent.doctor.finding import Patient
from tests.device_agent.finished import finished_box, stopped_box

__all__ = ["finished_box", "stopped_box"]


def probe():
    return {"runtime_floor_bytes": 50_000_000, "versions": {"onnxruntime": "1"}}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(command, "Patient", functools.partial(Patient, probe=probe))
