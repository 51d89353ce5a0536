"""How many bytes a training process may occupy on a box."""

from contract.device import Budget, BudgetTerm, DeviceProfile


def budget_for(profile: DeviceProfile, *, fraction: float, reserve_bytes: int) -> Budget:
    """Return ``fraction`` of the smallest known term, never below zero.

    A cap counts for the agent and its trainer together, so what the agent occupies comes off.
    """
    terms: dict[BudgetTerm, int] = {}
    if profile.operator_cap_bytes is not None:
        terms["operator_cap"] = profile.operator_cap_bytes - profile.agent_bytes
    if profile.cgroup_limit_bytes is not None:
        terms["cgroup_limit"] = profile.cgroup_limit_bytes - profile.agent_bytes
    terms["available_ram"] = profile.ram_available_bytes - reserve_bytes
    bound_by = min(terms, key=lambda term: (terms[term], term))
    total_bytes = max(0, int(fraction * terms[bound_by]))
    return Budget(total_bytes=total_bytes, bound_by=bound_by, terms=terms)
