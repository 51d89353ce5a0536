import pytest
from pydantic import ValidationError

from contract.device import Budget
from tests.contract.payloads import parse, recorded


def registration(**profile):
    made = recorded("registration")
    made["profile"] |= profile
    return made


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("cores", 0),
        ("cores", 4097),
        ("ram_total_bytes", -1),
        ("ram_total_bytes", 1.5),
        ("ram_total_bytes", "4GB"),
        ("ram_total_bytes", True),
        ("cpu", ""),
        ("cpu", "x" * 121),
        ("cpu_flags", ["f"] * 257),
        ("accelerators", [{"kind": "gpu", "name": "n", "memory_bytes": 1, "driver": None}] * 17),
        ("providers", ["p"] * 33),
        ("versions", {f"v{i}": "1" for i in range(33)}),
        ("cap_kinds", ["c"] * 9),
        ("benchmark_ms", float("nan")),
        ("benchmark_ms", -1.0),
    ],
)
def test_a_profile_out_of_bounds_is_refused(field, bad):
    with pytest.raises(ValidationError, match=field):
        parse("registration", registration(**{field: bad}))


def test_a_box_may_not_know_its_limits():
    unknown = {"cgroup_limit_bytes": None, "operator_cap_bytes": None, "benchmark_ms": None}

    profile = parse("registration", registration(**unknown)).profile

    assert profile.cgroup_limit_bytes is None


def test_too_many_labels_are_refused():
    made = recorded("registration") | {"labels": {f"k{i}": "v" for i in range(33)}}

    with pytest.raises(ValidationError, match="labels"):
        parse("registration", made)


def test_a_term_of_a_budget_may_be_negative_and_the_budget_may_not():
    terms = {"available_ram": -5}

    assert Budget(total_bytes=0, bound_by="available_ram", terms=terms).terms == terms
    with pytest.raises(ValidationError):
        Budget(total_bytes=-5, bound_by="available_ram", terms=terms)
