"""Old programs meet new ones: what once crossed the wire still parses, and nothing is lost."""

import importlib
import json
import pkgutil
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

import contract
from contract.base import Message, OperatorInput
from tests.contract.payloads import FOLDER, KINDS, leaves, parse, recorded

FILES = sorted(path for path in FOLDER.rglob("*.json"))
BASES = {"Message", "OperatorInput", "_Spec"}


def dumped(name, value):
    return json.loads(TypeAdapter(KINDS[name]).dump_json(value))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_payload_still_parses_and_keeps_every_value(path):
    payload = json.loads(path.read_bytes())

    kept = dict(leaves(dumped(path.stem, parse(path.stem, payload))))

    assert {place: kept[place] for place, _ in leaves(payload)} == dict(leaves(payload))


def test_every_message_has_a_recorded_payload():
    assert {path.stem for path in (FOLDER / "v1").iterdir()} == set(KINDS)


def test_every_class_of_the_contract_occurs_in_a_recorded_payload():
    seen: set[str] = set()
    for name in KINDS:
        _note_classes(parse(name, recorded(name)), seen)
    named = {kind.__name__ for kind in _contract_classes()}

    assert named - seen - BASES == set()


@pytest.mark.parametrize("name", [n for n, kind in KINDS.items() if issubclass(kind, BaseModel)])
def test_a_sender_that_leaves_out_optional_fields_is_understood(name):
    fields = KINDS[name].model_fields
    spare = {k: v for k, v in recorded(name).items() if fields[k].is_required()}

    assert isinstance(parse(name, spare), KINDS[name])


def _contract_classes() -> list[type[Any]]:
    modules = [
        importlib.import_module(f"contract.{found.name}")
        for found in pkgutil.iter_modules(contract.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Message | OperatorInput)
        and value.__module__ == module.__name__
    ]


def _note_classes(value: Any, seen: set[str]) -> None:
    if isinstance(value, BaseModel):
        seen.update(kind.__name__ for kind in type(value).__mro__)
        for name in type(value).model_fields:
            _note_classes(getattr(value, name), seen)
    elif isinstance(value, tuple):
        for inner in value:
            _note_classes(inner, seen)
