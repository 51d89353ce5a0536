"""Which of onnxruntime's providers serves a model on this box: the one that was measured fastest.

Pure, apart from the child that takes a time and the file that keeps it. Where only the CPU is
there, nothing is measured. An accelerator is taken when its own process loaded this very model,
answered as the CPU does, was clearly faster, and left the box's memory alone; in doubt it is the
CPU.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.base import Message
from device_agent.disk.files import write_atomic
from device_agent.serving.runtime import CPU
from device_agent.training.children import quiet_environment

ACCELERATED = (
    "CUDAExecutionProvider",
    "ROCMExecutionProvider",
    "MIGraphXExecutionProvider",
    "OpenVINOExecutionProvider",
    "QNNExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
    "CANNExecutionProvider",
)
"""Tried by ``auto``. TensorRT builds an engine for minutes, and Azure is no accelerator: it sends
what it is given to a remote service. Only their name makes the first of them a candidate; the
second is none under any name."""
_REMOTE = {"AzureExecutionProvider"}
CLEARLY_FASTER = 1.2
CLOSE_ENOUGH = 0.02
_LONGEST_S = 60
_MOST_KEPT = 16


class Timing(Message):
    """One provider's turn: a time and its process's memory, or ``trouble``."""

    provider: str
    latency_ms: float | None = None
    rss_bytes: int = 0
    probabilities: tuple[float, ...] = ()
    trouble: str | None = None


class Choice(Message):
    """What serves, why, and the times that it was chosen by."""

    provider: str = CPU
    why: str
    timings: tuple[Timing, ...] = ()


def candidates(asked: str, available: Sequence[str]) -> tuple[str, ...]:
    """Return the accelerators to measure: under ``auto`` the known ones, else the one named."""
    there = [name for name in available if name != CPU and name not in _REMOTE]
    if asked == "auto":
        return tuple(name for name in ACCELERATED if name in there)
    wanted = {asked.lower(), f"{asked.lower()}executionprovider"}
    return tuple(name for name in there if name.lower() in wanted)


def choose(timings: Sequence[Timing], most_rss_bytes: int | None) -> Choice:
    """Return the fastest provider that may serve; the CPU unless another is clearly faster.

    ``most_rss_bytes`` is the most memory that a process which serves may take; None: no limit.
    """
    cpu = next((t for t in timings if t.provider == CPU), None)
    if cpu is None or cpu.latency_ms is None:
        return Choice(why="the CPU could not be timed", timings=tuple(timings))
    notes, best = [], cpu
    for timing in sorted(timings, key=lambda t: (t.latency_ms or 0.0, t.provider)):
        if timing is cpu:
            continue
        note = _objection(timing, cpu, most_rss_bytes)
        if note is None and best is cpu:
            best = timing
        notes.append(note or f"{timing.provider} takes {timing.latency_ms:.2f} ms")
    notes.append(f"the CPU takes {cpu.latency_ms:.2f} ms")
    return Choice(provider=best.provider, why="; ".join(notes), timings=tuple(timings))


def _objection(timing: Timing, cpu: Timing, most_rss_bytes: int | None) -> str | None:
    """Return why a provider may not serve; None where it may."""
    name = timing.provider
    if timing.latency_ms is None or cpu.latency_ms is None:
        return f"{name}: {timing.trouble or 'no time was taken'}"
    if not _agree(timing.probabilities, cpu.probabilities):
        return f"{name} answers otherwise than the CPU"
    if most_rss_bytes is not None and timing.rss_bytes > most_rss_bytes:
        return f"{name} takes {timing.rss_bytes} bytes of memory, at most {most_rss_bytes} may go"
    if timing.latency_ms * CLEARLY_FASTER > cpu.latency_ms:
        return f"{name} takes {timing.latency_ms:.2f} ms, which is not clearly faster"
    return None


def _agree(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    if not ours or len(ours) != len(theirs):
        return False
    return all(abs(a - b) <= CLOSE_ENOUGH for a, b in zip(ours, theirs, strict=True))


TakeTime = Callable[[str], Timing]


def measure(names: Sequence[str], take_time: TakeTime, most_rss_bytes: int | None) -> Choice:
    """Time the CPU and every candidate; nothing is timed where there is none."""
    if not names:
        return Choice(why="only the CPU is there")
    return choose([take_time(name) for name in (CPU, *names)], most_rss_bytes)


def time_in_child(model: Path, numbers: tuple[int, int, int], threads: int, name: str) -> Timing:
    """Time one provider in a process of its own: a driver that crashes or hangs ends only that.

    ``numbers`` are the model's side in pixels, channels and classes.
    """
    words = [str(model), *map(str, numbers), str(threads), name]
    command = [sys.executable, "-m", "device_agent.machine.probe", "--time", *words]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, timeout=_LONGEST_S, check=True, env=quiet_environment()
        )
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return Timing.model_validate({"provider": name, **said})
    except subprocess.TimeoutExpired:
        return Timing(provider=name, trouble=f"gave no answer in {_LONGEST_S} s")
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        return Timing(provider=name, trouble=f"ended with {exc.returncode}: {''.join(last)[:300]}")
    except (OSError, ValueError, IndexError) as exc:
        return Timing(provider=name, trouble=f"gave no time: {exc}")


def key_of(*facts: object) -> str:
    """Name everything that a choice depends on: the model, versions, providers, threads."""
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


class ChoiceFile:
    """The choices made on this box, newest last; a file that cannot be read counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> Choice | None:
        return self._load().get(key)

    def put(self, key: str, choice: Choice) -> None:
        known = {k: v for k, v in self._load().items() if k != key} | {key: choice}
        kept = dict(list(known.items())[-_MOST_KEPT:])
        raw = {k: v.model_dump(mode="json") for k, v in kept.items()}
        write_atomic(self._path, json.dumps(raw, indent=1).encode())

    def _load(self) -> dict[str, Choice]:
        try:
            raw = json.loads(self._path.read_bytes())
            return {key: Choice.model_validate(value) for key, value in raw.items()}
        except (OSError, ValueError, AttributeError, ValidationError):
            return {}
