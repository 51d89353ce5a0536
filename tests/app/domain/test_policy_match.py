import pytest

from app.domain.policy_match import policy_for
from app.domain.selection import PolicyInForce
from contract.policy import PolicyBody


def policy(name, selector, priority=0):
    body = PolicyBody(selector=selector, priority=priority)
    return PolicyInForce(name=name, version=1, body=body)


ALL = policy("all", {})
LINE = policy("line", {"line": "3"})
LINE_AND_SITE = policy("line-and-site", {"line": "3", "site": "north"})
URGENT = policy("urgent", {}, priority=5)


@pytest.mark.parametrize(
    ("labels", "policies", "wanted"),
    [
        ({}, [LINE, ALL], "all"),
        ({"line": "3"}, [ALL, LINE], "line"),
        ({"line": "3", "site": "north"}, [ALL, LINE, LINE_AND_SITE], "line-and-site"),
        ({"line": "3"}, [LINE, URGENT], "urgent"),
        ({"line": "4"}, [LINE], None),
        ({"line": "3"}, [policy("z", {"line": "3"}), policy("b", {"line": "3"})], "b"),
    ],
)
def test_the_highest_priority_then_the_most_specific_then_the_name_wins(labels, policies, wanted):
    found = policy_for(labels, policies)
    assert (found.name if found else None) == wanted
