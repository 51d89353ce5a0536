import pytest
from pydantic import ValidationError

from contract.release import Variant
from tests.contract.payloads import changed, parse, recorded

SPREAD = ("variants", 0, "reference", "statistics", 0)


def test_a_variant_without_a_reference_is_understood():
    old = recorded("release")["variants"][0]

    assert Variant.model_validate(old).reference is None


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        ((*SPREAD, "edges", 3), 1e6),
        ((*SPREAD, "edges", 3), "NaN"),
        ((*SPREAD, "edges"), [0.0] * 10),
        ((*SPREAD, "shares", 0), 0.9),
        ((*SPREAD, "shares"), [0.1] * 9),
        ((*SPREAD, "name"), "sharpness"),
        ((*SPREAD, "name"), "Not a name"),
        (("variants", 0, "reference", "statistics"), []),
        (("variants", 0, "reference", "n"), 0),
        (("variants", 0, "reference", "definition"), 0),
    ],
)
def test_a_reference_that_is_no_distribution_is_refused(place, bad):
    with pytest.raises(ValidationError):
        parse("release-reference", changed(recorded("release-reference"), place, bad))
