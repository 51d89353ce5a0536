"""What is sent, in words."""

import pytest

from device_agent.cloud.promise import promise_in_force, what_is_sent
from device_agent.disk.paths import StatePaths
from tests.device_agent.cloud.test_calibration_store import Kept
from tests.device_agent.serving.test_predict import desired


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(StatePaths(tmp_path / "state"))


@pytest.mark.parametrize(
    ("action", "fallback", "may_leave", "rules", "holds"),
    [
        ("train", "low_confidence", True, {"max_risk": 0.1}, True),
        ("idle", "low_confidence", True, {"max_offload": 0.1}, True),
        ("train", "low_confidence", True, {}, False),
        ("train", "low_confidence", False, {"max_risk": 0.1}, False),
        ("train", "on_failure", True, {"max_risk": 0.1}, False),
        ("cloud", "low_confidence", True, {"max_risk": 0.1}, False),
    ],
)
def test_a_promise_is_in_force_only_where_doubt_may_send(action, fallback, may_leave, rules, holds):
    state = desired(action, fallback, may_leave=may_leave, **rules)

    assert (promise_in_force(state) is not None) == holds


def test_a_box_that_never_heard_a_policy_has_none(kept):
    assert promise_in_force(None) is None
    assert what_is_sent(kept.paths, None, kept.manifest) == (
        "nothing: the server has not been heard yet"
    )


@pytest.mark.parametrize(
    ("n", "fallback", "may_leave", "rules", "words"),
    [
        (100, "low_confidence", False, {"max_risk": 0.1}, "nothing: the policy keeps images"),
        (100, "on_failure", True, {}, "no doubtful answers: the policy's fallback is on_failure"),
        (100, "low_confidence", True, {"max_risk": 0.1}, "less sure than 0.5000: at most 10.0%"),
        (10, "low_confidence", True, {"max_risk": 0.1}, "everything, since 10 held-back images"),
        (10, "low_confidence", True, {"max_offload": 0.01}, "no doubtful answers: at most 1.0%"),
    ],
)
def test_the_words_say_which_answers_and_why(kept, n, fallback, may_leave, rules, words):
    kept.score(n)
    state = desired(fallback=fallback, may_leave=may_leave, **rules)

    assert words in what_is_sent(kept.paths, state, kept.manifest)


def test_a_box_without_a_model_sends_no_doubtful_answers(kept):
    state = desired(fallback="low_confidence", may_leave=True, max_risk=0.1)

    assert "no doubtful answers" in what_is_sent(kept.paths, state, None)
