"""The how-to pages know every field of a policy and every word for an outcome."""

import re
from typing import get_args

from contract.policy import Fallback, Objective, PolicyBody
from contract.report import OutcomeStatus
from tests.docs.pages import DOCS

POLICY = (DOCS / "how-to" / "write-a-policy.md").read_text()
ENROL = (DOCS / "how-to" / "enrol-a-box.md").read_text()


def test_every_field_of_a_policy_is_explained_with_its_default():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", POLICY, re.MULTILINE))

    assert sorted(rows) == sorted(PolicyBody.model_fields)
    for name, field in PolicyBody.model_fields.items():
        simple = field.default is None or isinstance(field.default, bool | int | float | str)
        if not field.default_factory and simple:
            shown = "none" if field.default is None else str(field.default).lower()
            assert rows[name].strip("`") == shown, name


def test_every_word_for_objective_and_fallback_is_there():
    for word in (*get_args(Objective), *get_args(Fallback)):
        assert f"`{word}`" in POLICY


def test_the_example_of_a_policy_is_valid():
    example = re.search(r"```json\n(.*?)```", POLICY, re.DOTALL)
    assert example is not None
    PolicyBody.model_validate_json(example[1])


def test_every_outcome_is_named():
    for word in get_args(OutcomeStatus):
        assert f"`{word}`" in ENROL
