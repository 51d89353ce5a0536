from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.report import (
    EventBody,
    InferenceSummaryBody,
    OutcomeBody,
    Report,
    ReportBatch,
)
from tests.contract.payloads import parse, recorded

NOW = datetime(2026, 1, 1, tzinfo=UTC)
labels = st.text(st.characters(min_codepoint=160, exclude_categories=["Cs"]), min_size=1).map(
    lambda text: text[:120]
)
moments = st.datetimes(
    min_value=datetime(1999, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone
    max_value=datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
shares = st.none() | st.floats(0, 1)
outcomes = st.builds(
    OutcomeBody,
    generation=st.integers(0, 2**53),
    release_number=st.integers(0, 2**31 - 1),
    point_key=st.none() | labels,
    status=st.sampled_from(["activated", "below_floor", "over_cap", "idle"]),
    reason=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=2000),
    balanced_accuracy_before=shares,
    balanced_accuracy_after=shares,
    peak_rss_bytes=st.none() | st.integers(0, 2**53),
    seconds=st.none() | st.floats(0, 1e9),
)
events = st.builds(EventBody, name=labels, fields=st.dictionaries(labels, labels, max_size=3))
summaries = st.builds(
    InferenceSummaryBody,
    window_start=moments,
    window_s=st.integers(1, 86_400),
    counts=st.dictionaries(labels, st.integers(0, 2**53), max_size=3),
    cloud_count=st.integers(0, 2**53),
)
reports = st.builds(
    Report,
    key=labels,
    sequence=st.integers(0, 2**53),
    sent_at=moments,
    body=outcomes | events | summaries,
)


@given(reports)
def test_a_report_survives_the_wire(report):
    batch = ReportBatch(reports=(report,))

    assert ReportBatch.model_validate_json(batch.model_dump_json()) == batch


def test_the_kind_decides_which_body_it_is():
    kinds = [type(report.body).__name__ for report in parse_batch().reports]

    assert kinds == [
        "ProfileBody",
        "OutcomeBody",
        "OutcomeBody",
        "InferenceSummaryBody",
        "EventBody",
    ]


def parse_batch():
    return parse("report-batch", recorded("report-batch"))


@pytest.mark.parametrize("kind", ["rumour", "", None, 3])
def test_a_kind_that_nobody_knows_is_refused(kind):
    batch = recorded("report-batch")
    batch["reports"][0]["body"]["kind"] = kind

    with pytest.raises(ValidationError):
        parse("report-batch", batch)


@pytest.mark.parametrize("count", [0, 201])
def test_a_batch_is_neither_empty_nor_endless(count):
    report = recorded("report-batch")["reports"][4]

    with pytest.raises(ValidationError):
        parse("report-batch", {"reports": [report] * count})


@pytest.mark.parametrize("seconds", [0, 86_401])
def test_a_summary_covers_at_most_a_day(seconds):
    with pytest.raises(ValidationError):
        InferenceSummaryBody(window_start=NOW, window_s=seconds, counts={"ok": 1}, cloud_count=0)


@pytest.mark.parametrize("count", [-1, 1.5, True, 2**60])
def test_a_count_is_a_count(count):
    with pytest.raises(ValidationError):
        InferenceSummaryBody(window_start=NOW, window_s=60, counts={"ok": count}, cloud_count=0)


def test_reports_of_one_moment_in_different_zones_are_the_same():
    body = EventBody(name="started")

    here, east = (
        Report(key="k", sequence=1, sent_at=moment, body=body)
        for moment in ("2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00")
    )

    assert here == east
