import pytest

from app.domain.budget import budget_for
from contract.device import DeviceProfile
from tests.app.world import MB, profile


@pytest.mark.parametrize(
    ("changes", "bound_by", "total_mb"),
    [
        ({"operator_cap_bytes": 150 * MB}, "operator_cap", 50),
        ({"cgroup_limit_bytes": 130 * MB}, "cgroup_limit", 40),
        ({"ram_available_bytes": 160 * MB}, "available_ram", 30),
        ({"operator_cap_bytes": None}, "available_ram", 1450),
    ],
)
def test_the_smallest_term_binds_and_the_fraction_is_taken(changes, bound_by, total_mb):
    box = DeviceProfile.model_validate(profile(**changes))
    budget = budget_for(box, fraction=0.5, reserve_bytes=100 * MB)
    assert (budget.bound_by, budget.total_bytes) == (bound_by, total_mb * MB)


def test_a_budget_is_never_negative():
    box = DeviceProfile.model_validate(profile(operator_cap_bytes=10 * MB))
    budget = budget_for(box, fraction=1.0, reserve_bytes=0)
    assert budget.total_bytes == 0
    assert budget.terms["operator_cap"] == -40 * MB
