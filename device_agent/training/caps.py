"""The trainer's memory cap: how much, by what means, and whether a plan fits. Pure arithmetic.

A cap covers agent and trainer together, so the child's share is the operator's cap (and the
control group's limit) less the agent's allowance. Kinds of cap, strongest first: ``cgroup_v2``,
``cgroup_v1`` (the kernel kills), ``rlimit_data`` (the child sets it on itself), ``rss_watchdog``.
"""

from dataclasses import dataclass

from contract.base import Message
from contract.device import DeviceProfile
from device_agent.sizes import format_size

RESERVE_BYTES = 32_000_000
WATCHDOG = "rss_watchdog"
RLIMIT = "rlimit_data"


class Fit(Message):
    """Whether a plan fits. ``for_now`` marks a miss that may pass: memory that others hold."""

    fits: bool
    for_now: bool
    text: str
    peak_bytes: int | None = None


@dataclass(frozen=True)
class ChildBudget:
    """``cap_bytes`` is enforced on the child; ``available_bytes`` is what is free now."""

    cap_bytes: int
    available_bytes: int


def child_budget(profile: DeviceProfile, server_budget_bytes: int) -> ChildBudget:
    """Return what the trainer may occupy: never more than the server reckoned with.

    A run that took more than that would be judged infeasible afterwards, though it broke no limit
    of the box. A ``server_budget_bytes`` of 0 means that none was given.
    """
    limits = [profile.operator_cap_bytes, profile.cgroup_limit_bytes]
    known = [max(limit - profile.agent_bytes, 0) for limit in limits if limit is not None]
    promised = [server_budget_bytes] if server_budget_bytes > 0 else []
    cap_bytes = min(known + promised, default=0)
    return ChildBudget(cap_bytes, max(profile.ram_available_bytes - RESERVE_BYTES, 0))


def check_fit(
    budget: ChildBudget,
    floor_bytes: int | None,
    workload_bytes: int | None,
    least_bytes: int | None = None,
) -> Fit:
    """Compare the predicted peak (own floor plus the point's workload) with the fresh budget.

    ``least_bytes`` is what a smaller micro-batch takes at the very least: only that is held against
    the cap, for the dry run will tell. What is free must do for the most that it can take.
    """
    if floor_bytes is None or workload_bytes is None:
        return Fit(
            fits=False, for_now=False, text="the plan states no memory that could be checked"
        )
    peak_bytes = floor_bytes + (workload_bytes if least_bytes is None else least_bytes)
    predicted = f"predicted peak {format_size(peak_bytes)}"
    if peak_bytes > budget.cap_bytes:
        over = f"{predicted} is over this box's cap of {format_size(budget.cap_bytes)}"
        return Fit(fits=False, for_now=False, text=over, peak_bytes=peak_bytes)
    most_bytes = min(floor_bytes + workload_bytes, budget.cap_bytes)
    if most_bytes > budget.available_bytes:
        free = format_size(budget.available_bytes)
        over = f"predicted peak {format_size(most_bytes)} is over the {free} free just now"
        return Fit(fits=False, for_now=True, text=over)
    return Fit(fits=True, for_now=False, text=f"{predicted} fits")


def dry_run_fit(budget: ChildBudget, peak_bytes: int) -> Fit:
    """Judge the two-step dry run's measured peak."""
    measured = f"two steps on this box took {format_size(peak_bytes)}"
    if peak_bytes > budget.cap_bytes:
        over = f"{measured}, over the cap of {format_size(budget.cap_bytes)}"
        return Fit(fits=False, for_now=False, text=over, peak_bytes=peak_bytes)
    return Fit(fits=True, for_now=False, text=f"{measured}: within the cap")
