import pytest
from pydantic import ValidationError

from contract.policy import PolicyBody, PolicyCreate
from contract.rules import BoxRules, rules_of


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


@pytest.mark.parametrize(
    "promises", [{}, {"max_risk": 0.05, "max_offload": 0.1}], ids=["none", "both"]
)
def test_low_confidence_needs_exactly_one_promise(promises):
    with pytest.raises(ValidationError, match="either max_risk or max_offload"):
        PolicyBody(fallback="low_confidence", **promises)


def test_a_promise_without_the_fallback_that_keeps_it_is_refused():
    with pytest.raises(ValidationError, match="need the fallback low_confidence"):
        PolicyBody(fallback="on_failure", max_risk=0.05)


def test_the_rules_of_a_policy_reach_the_box_whole():
    policy = PolicyBody(retrain_after_labels=50, audit_share=0.02)

    rules = rules_of(policy)

    assert (rules.retrain_after_labels, rules.audit_share) == (50, 0.02)
    assert rules_of(PolicyBody()) == BoxRules()
