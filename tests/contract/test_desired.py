import pytest
from pydantic import ValidationError

from contract.desired import DesiredState
from tests.contract.payloads import parse, recorded

STATES = ["desired-train", "desired-cloud", "desired-idle"]


@pytest.mark.parametrize("name", STATES)
def test_a_desired_state_survives_the_wire(name):
    state = parse(name, recorded(name))

    assert DesiredState.model_validate_json(state.model_dump_json()) == state


def test_the_files_to_fetch_can_be_found_from_the_state_alone():
    assignment = parse("desired-train", recorded("desired-train")).assignment
    variant, cut = assignment.variant, assignment.point.plan.scope.cut

    kinds = [artifact.kind for artifact in variant.artifacts_for(cut)]

    assert kinds == ["weights", "inference", "train_graph"]
    with pytest.raises(KeyError):
        variant.artifacts_for("middle9")


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("generation", -1),
        ("action", "dance"),
        ("release_number", 2**31),
        ("accuracy_floor", 1.1),
        ("fallback", "always"),
        ("schema_version", 2),
    ],
)
def test_a_state_out_of_bounds_is_refused(field, bad):
    with pytest.raises(ValidationError, match=field):
        parse("desired-idle", recorded("desired-idle") | {field: bad})
