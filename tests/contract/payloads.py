"""The recorded payloads: which message each is, and every value in it with its place."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from contract.decision import Decision, Observation
from contract.desired import DesiredState
from contract.device import Registered, Registration
from contract.finetune import FinetuneJob, FinetuneProgress, FinetuneResult
from contract.inference import Prediction
from contract.policy import PolicyBody, PolicyCreate
from contract.problem import Problem
from contract.release import Release
from contract.report import ReportBatch, ReportReceipts

FOLDER = Path(__file__).with_name("recorded")

MESSAGES: dict[str, type[Any]] = {
    "decision": Decision,
    "desired-cloud": DesiredState,
    "desired-idle": DesiredState,
    "desired-rules": DesiredState,
    "desired-train": DesiredState,
    "observation": Observation,
    "prediction": Prediction,
    "problem": Problem,
    "registered": Registered,
    "registration": Registration,
    "release": Release,
    "release-reference": Release,
    "report-batch": ReportBatch,
    "report-batch-quality": ReportBatch,
    "report-receipts": ReportReceipts,
}
OPERATOR_INPUT: dict[str, type[Any]] = {
    "policy-body": PolicyBody,
    "policy-create": PolicyCreate,
    "policy-rules": PolicyCreate,
}
BETWEEN_PROGRAMS: dict[str, type[Any]] = {
    "finetune-job": FinetuneJob,
    "finetune-job-rival": FinetuneJob,
    "finetune-progress": FinetuneProgress,
    "finetune-result-done": FinetuneResult,
    "finetune-result-over-cap": FinetuneResult,
}
KINDS = MESSAGES | OPERATOR_INPUT | BETWEEN_PROGRAMS
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}

Place = tuple[str | int, ...]


def recorded(name: str, version: str = "v1") -> Any:
    """Return a fresh copy of a recorded payload."""
    return json.loads((FOLDER / version / f"{name}.json").read_bytes())


def parse(name: str, payload: Any) -> Any:
    """Read a payload as the wire does, from JSON."""
    return _ADAPTERS[name].validate_json(json.dumps(payload))


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every value that is neither a list nor an object, with its place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def objects(value: Any, place: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every object with its place."""
    if isinstance(value, dict):
        yield place, value
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from objects(inner, (*place, key))


def changed(payload: Any, place: Place, value: Any) -> Any:
    """Return a copy with another value at that place."""
    if not place:
        return value
    made = copy.deepcopy(payload)
    at(made, place[:-1])[place[-1]] = value
    return made


def at(payload: Any, place: Place) -> Any:
    """Return what stands at that place."""
    for step in place:
        payload = payload[step]
    return payload


def places(names: dict[str, type[Any]], kind: type[Any]) -> list[tuple[str, Place]]:
    """Return the place of every value of exactly that type in these payloads."""
    return [
        (name, place)
        for name in names
        for place, value in leaves(recorded(name))
        if type(value) is kind
    ]
