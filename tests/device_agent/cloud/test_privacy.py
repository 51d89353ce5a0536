"""Who may send what, as a table, and the rule that nothing overrides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.cloud.privacy import why_cloud, why_not
from tests.device_agent.serving.test_predict import ACTIONS, FALLBACKS, desired

patient = settings(deadline=None)
HERE = ("unasked", "sure", "unsure", "failed")


@pytest.mark.parametrize(
    ("action", "fallback", "here", "why"),
    [
        ("cloud", "never", "unasked", None),
        ("cloud", "nothing_fits", "unasked", "nothing_fits"),
        ("cloud", "on_failure", "unasked", "nothing_fits"),
        ("cloud", "low_confidence", "unasked", "nothing_fits"),
        ("train", "nothing_fits", "unasked", None),
        ("train", "nothing_fits", "failed", None),
        ("train", "nothing_fits", "unsure", None),
        ("train", "on_failure", "failed", "on_failure"),
        ("train", "on_failure", "unsure", None),
        ("train", "on_failure", "sure", None),
        ("idle", "never", "failed", None),
        ("idle", "on_failure", "failed", "on_failure"),
        ("train", "low_confidence", "failed", "on_failure"),
        ("train", "low_confidence", "unsure", "low_confidence"),
        ("idle", "low_confidence", "unsure", "low_confidence"),
        ("train", "low_confidence", "sure", None),
        ("train", "low_confidence", "unasked", None),
    ],
)
def test_where_images_may_leave_the_fallback_decides(action, fallback, here, why):
    assert why_cloud(desired(action, fallback, may_leave=True), here) == why


@patient
@given(st.sampled_from(ACTIONS), st.sampled_from(FALLBACKS), st.sampled_from(HERE))
def test_where_images_may_not_leave_nothing_does(action, fallback, here):
    assert why_cloud(desired(action, fallback), here) is None
    assert why_cloud(None, here) is None


@patient
@given(st.sampled_from(ACTIONS), st.sampled_from(HERE))
def test_each_fallback_sends_whatever_the_one_before_it_sends(action, here):
    sent = [why_cloud(desired(action, f, may_leave=True), here) is not None for f in FALLBACKS]

    assert sent == sorted(sent)
    assert sent[0] is False


@pytest.mark.parametrize("odd", [1, "true", None, 0])
def test_a_state_that_is_no_plain_yes_sends_nothing(odd):
    state = desired("cloud", "low_confidence").model_copy(update={"images_may_leave": odd})

    assert why_cloud(state, "failed") is None


def test_the_reason_is_told():
    assert "not been heard" in why_not(None)
    assert "keeps images" in why_not(desired("train", "on_failure"))
    assert "fallback is nothing_fits" in why_not(desired("train", "nothing_fits", may_leave=True))
