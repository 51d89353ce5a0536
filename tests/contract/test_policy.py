import pytest
from pydantic import ValidationError

from contract.policy import PolicyBody, PolicyCreate


def test_an_empty_policy_is_a_careful_one():
    body = PolicyBody()

    assert body.selector == {}
    assert body.images_may_leave is False
    assert 0 < body.budget_fraction < 1
    assert body.reserve_bytes > 0


@pytest.mark.parametrize(
    "bad",
    [
        {"accuracy_floor": 1.2},
        {"accuracy_floor": float("nan")},
        {"accuracy_flor": 0.9},
        {"budget_fraction": 0.0},
        {"budget_fraction": 1.1},
        {"reserve_bytes": -1},
        {"reserve_bytes": "1GB"},
        {"priority": 1001},
        {"objective": ()},
        {"objective": ("max_speed",)},
        {"objective": ("max_accuracy",) * 6},
        {"accuracy_step": 0.0},
        {"hysteresis": -0.1},
        {"fallback": "always"},
        {"selector": {"site": ""}},
        {"selector": {"site": "a\nb"}},
    ],
)
def test_a_policy_out_of_bounds_is_refused(bad):
    with pytest.raises(ValidationError):
        PolicyBody(**bad)


@pytest.mark.parametrize("name", ["", "Line 4", "a/b", "a" * 81])
def test_a_policy_has_a_name_that_fits_an_address(name):
    with pytest.raises(ValidationError):
        PolicyCreate(name=name)
