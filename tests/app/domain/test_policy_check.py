import pytest

from app.domain.policy_check import impossibilities
from contract.policy import PolicyBody
from tests.app.release_maker import point

POINTS = [
    point("fast", accuracy=0.80, latency_ms=2, artifact_mb=1),
    point("good", accuracy=0.95, latency_ms=9, artifact_mb=5),
]


@pytest.mark.parametrize(
    ("policy", "field", "nearest"),
    [
        (PolicyBody(accuracy_floor=0.99), "accuracy_floor", "0.95"),
        (PolicyBody(max_latency_ms=1.5), "max_latency_ms", "2"),
        (PolicyBody(max_artifact_bytes=1000), "max_artifact_bytes", "1000000"),
        (PolicyBody(accuracy_floor=0.9, max_latency_ms=5.0), "accuracy_floor", "0.8"),
    ],
)
def test_an_impossible_policy_is_told_the_nearest_value(policy, field, nearest):
    (problem,) = impossibilities(policy, POINTS)
    assert problem.field == field
    assert nearest in problem.message


def test_a_possible_policy_has_nothing_against_it():
    assert impossibilities(PolicyBody(accuracy_floor=0.9), POINTS) == ()


def test_without_a_release_every_policy_is_possible():
    assert impossibilities(PolicyBody(accuracy_floor=1.0), []) == ()
