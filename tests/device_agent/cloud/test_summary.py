"""The hourly window."""

from datetime import UTC, datetime, timedelta

from contract.inference import Prediction
from device_agent.cloud.confidence_drift import MOST_LIVE, WINDOW
from device_agent.cloud.summary import InferenceWindow, percentile
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


def test_reasons_and_the_sureness_of_every_answer_of_the_box_are_counted():
    window = InferenceWindow(START)
    own = ANSWER.model_copy(update={"source": "device"})
    sure = own.model_copy(update={"probabilities": {"ok": 1.0, "defect": 0.0}})
    window.note(own)
    window.note(sure)
    window.note_overruled(own.model_copy(update={"probabilities": {"ok": 0.55, "defect": 0.45}}))
    window.note(ANSWER.model_copy(update={"why_cloud": "low_confidence"}))
    window.note(ANSWER.model_copy(update={"why_cloud": "on_failure"}))
    window.note_audited()
    window.note_drift(0.3)
    window.note_drift(0.1)

    body = window.roll(START, force=True)
    assert body.counts == {"ok": 4}
    assert body.cloud_count == 2
    assert body.cloud_reasons == {"low_confidence": 1, "on_failure": 1}
    assert body.confidence_counts == (0, 0, 0, 0, 0, 1, 0, 0, 0, 2)
    assert (body.audited_count, body.drift) == (1, 0.3)


def test_a_new_hour_counts_from_nothing():
    window = InferenceWindow(START)
    window.note_drift(0.3)
    window.note_audited()
    window.roll(START, force=True)
    window.note(ANSWER)

    body = window.roll(START, force=True)
    assert (body.audited_count, body.drift, sum(body.confidence_counts)) == (0, None, 0)


def test_the_latest_confidences_are_handed_out_once_there_are_enough():
    window = InferenceWindow(START)
    own = ANSWER.model_copy(update={"source": "device"})
    for _ in range(WINDOW - 1):
        window.note(own)
    assert window.take_live() is None

    window.note(own)
    assert window.take_live() == [0.9] * WINDOW
    assert window.take_live() is None


def test_only_so_many_confidences_are_kept():
    window = InferenceWindow(START)
    for _ in range(MOST_LIVE + 50):
        window.note_overruled(ANSWER)

    assert len(window.take_live()) == MOST_LIVE
