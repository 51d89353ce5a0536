"""The hourly window."""

from datetime import UTC, datetime, timedelta

from contract.inference import Prediction
from device_agent.summary import InferenceWindow, percentile
from tests.device_agent.fleet import cloud_prediction

START = datetime(2026, 1, 1, tzinfo=UTC)
ANSWER = Prediction.model_validate(cloud_prediction())


def test_an_hour_becomes_one_report():
    window = InferenceWindow(START)
    for _ in range(3):
        window.note(ANSWER)

    assert window.roll(START + timedelta(minutes=59)) is None
    body = window.roll(START + timedelta(minutes=61))
    assert body.counts == {"ok": 3}
    assert body.window_s == 3660
    assert body.latency_ms_p99 == 20.0
    assert window.roll(START + timedelta(hours=9)) is None


def test_a_clock_that_jumps_back_loses_no_count():
    window = InferenceWindow(START)
    window.note(ANSWER)

    body = window.roll(START - timedelta(days=1800))
    assert body.counts == {"ok": 1}
    assert body.window_s == 1


def test_what_was_cut_short_is_kept_on_demand():
    window = InferenceWindow(START)
    window.note(ANSWER)

    assert window.roll(START, force=True).counts == {"ok": 1}
    assert window.roll(START, force=True) is None


def test_percentiles_are_values_that_were_seen():
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([], 0.5) is None
