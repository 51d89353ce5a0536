"""How much the trainer may occupy, and whether a plan fits."""

from hypothesis import given
from hypothesis import strategies as st

from device_agent.training.caps import ChildBudget, check_fit, child_budget, dry_run_fit
from tests.device_agent.conftest import make_profile


def test_the_cap_covers_agent_and_trainer_together():
    assert child_budget(make_profile(), 10**9).cap_bytes == 176_000_000


def test_the_tighter_of_operator_and_group_binds():
    profile = make_profile(cgroup_limit_bytes=200_000_000)

    assert child_budget(profile, 10**9).cap_bytes == 120_000_000


def test_without_any_cap_the_server_s_budget_binds():
    profile = make_profile(operator_cap_bytes=None)

    assert child_budget(profile, 123).cap_bytes == 123


def test_what_the_server_reckoned_with_binds_below_the_box_s_own_cap():
    assert child_budget(make_profile(), 150_000_000).cap_bytes == 150_000_000
    assert child_budget(make_profile(), 0).cap_bytes == 176_000_000


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**10))
def test_a_budget_is_never_negative(cap, available, allowance):
    profile = make_profile(
        operator_cap_bytes=cap, ram_available_bytes=available, agent_bytes=allowance
    )
    budget = child_budget(profile, 0)

    assert budget.cap_bytes >= 0
    assert budget.available_bytes >= 0


def test_a_missing_number_never_fits():
    budget = ChildBudget(10**9, 10**9)

    assert not check_fit(budget, None, 1).fits
    assert not check_fit(budget, 1, None).fits


def test_a_miss_of_the_cap_is_for_good_and_of_free_memory_for_now():
    assert not check_fit(ChildBudget(100, 1000), 60, 60).for_now
    assert check_fit(ChildBudget(1000, 100), 60, 60).for_now
    assert check_fit(ChildBudget(120, 120), 60, 60).fits


def test_the_dry_run_is_judged_by_what_it_took():
    assert dry_run_fit(ChildBudget(100, 0), 100).fits
    assert not dry_run_fit(ChildBudget(100, 0), 101).fits
