"""When a box trains again: pure rules, whatever the clock does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.finetune import FinetuneResult
from contract.rules import WEEKDAYS, BoxRules, TrainingWindow
from device_agent.loop.retrain import (
    Due,
    NotDue,
    TrainingFacts,
    due,
    in_the_past,
    is_open,
    new_labels,
    next_open,
    outlasts,
)

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
NIGHT = TrainingWindow(weekdays=("mon", "tue"), start="22:30", minutes=240)
MOMENTS = st.datetimes(timezones=st.just(UTC))
WINDOWS = st.builds(
    TrainingWindow,
    weekdays=st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True).map(tuple),
    start=st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 1440),
)
RULES = st.builds(
    BoxRules,
    retrain_after_labels=st.none() | st.integers(1, 1000),
    retrain_on_drift=st.booleans(),
    retrain_every_days=st.none() | st.floats(0.01, 3650),
    retrain_cooldown_hours=st.floats(0, 8760),
    training_windows=st.lists(WINDOWS, max_size=3).map(tuple),
)


def facts(**changes):
    known = {
        "trained_at": MONDAY, "trained_images": 100, "labelled_images": (80, 40), "drifted": False,
    }  # fmt: skip
    return TrainingFacts.model_validate(known | changes)


FACTS = st.builds(
    facts,
    trained_at=MOMENTS,
    trained_images=st.none() | st.integers(0, 2000),
    labelled_images=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    drifted=st.booleans(),
)


@pytest.mark.parametrize(
    ("rules", "changes", "days", "because"),
    [
        ({"retrain_after_labels": 20}, {}, 2, "20 new labelled images"),
        ({"retrain_on_drift": True}, {"drifted": True}, 2, "no longer look"),
        ({"retrain_every_days": 7}, {}, 8, "8.0 days old"),
        ({"retrain_after_labels": 20, "retrain_every_days": 1}, {}, 2, "20 new labelled images"),
    ],
)
def test_each_rule_calls_for_a_training(rules, changes, days, because):
    answer = due(BoxRules(**rules), facts(**changes), MONDAY + timedelta(days=days))

    assert isinstance(answer, Due)
    assert because in answer.reason


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        ({}, {"drifted": True}),
        ({"retrain_after_labels": 21}, {}),
        ({"retrain_on_drift": True}, {}),
        ({"retrain_every_days": 7}, {}),
        ({"retrain_after_labels": 1}, {"trained_images": None}),
        ({"retrain_after_labels": 1}, {"labelled_images": (200, 0)}),
    ],
)
def test_without_a_reason_the_box_leaves_its_model_alone(rules, changes):
    answer = due(BoxRules(**rules), facts(**changes), MONDAY + timedelta(days=2))

    assert isinstance(answer, NotDue)


def test_a_training_cools_down_before_the_next():
    rules = BoxRules(retrain_after_labels=1, retrain_cooldown_hours=24)
    answer = due(rules, facts(), MONDAY + timedelta(hours=23, minutes=59))

    assert isinstance(answer, NotDue)
    assert answer.next_at == MONDAY + timedelta(hours=24)
    assert isinstance(due(rules, facts(), answer.next_at), Due)


def test_a_closed_window_says_when_it_opens():
    rules = BoxRules(retrain_after_labels=1, training_windows=(NIGHT,))
    answer = due(rules, facts(), MONDAY + timedelta(days=3))

    assert isinstance(answer, NotDue)
    assert answer.next_at == MONDAY + timedelta(days=7, hours=22, minutes=30)
    assert "2026-06-08 at 22:30 UTC" in answer.reason


@pytest.mark.parametrize(
    ("day", "hour", "minute", "opened"),
    [
        (0, 22, 29, False),
        (0, 22, 30, True),
        (1, 0, 0, True),
        (1, 2, 29, True),
        (1, 2, 30, False),
        (2, 2, 29, True),
        (3, 1, 0, False),
    ],
)
def test_a_window_runs_past_midnight(day, hour, minute, opened):
    assert is_open((NIGHT,), MONDAY + timedelta(days=day, hours=hour, minutes=minute)) is opened


def test_sunday_runs_into_monday():
    window = TrainingWindow(weekdays=("sun",), start="23:00", minutes=120)

    assert is_open((window,), MONDAY + timedelta(minutes=59))
    assert not is_open((window,), MONDAY + timedelta(minutes=60))


def test_other_time_zones_are_read_in_utc():
    tokyo = datetime.fromisoformat("2026-06-02T07:30:00+09:00")

    assert is_open((NIGHT,), tokyo)


@settings(deadline=None)
@given(windows=st.lists(WINDOWS, min_size=1, max_size=4), now=MOMENTS)
def test_a_window_is_open_exactly_from_its_start_for_its_minutes(windows, now):
    assert is_open(windows, now) is any(
        start <= now.replace(tzinfo=None) - midnight < start + timedelta(minutes=window.minutes)
        for window in windows
        for midnight in (_midnight(now, 0), _midnight(now, 1))
        if midnight is not None and WEEKDAYS[midnight.weekday()] in window.weekdays
        for start in (_time_of(window),)
    )


def _midnight(now, days_ago):
    first = datetime.min  # noqa: DTZ901 - compared with naive times of UTC
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return None if day - first < timedelta(days=days_ago) else day - timedelta(days=days_ago)


def _time_of(window):
    hour, minute = map(int, window.start.split(":"))
    return timedelta(hours=hour, minutes=minute)


@settings(deadline=None)
@given(windows=st.lists(WINDOWS, min_size=1, max_size=4), now=MOMENTS)
def test_the_next_opening_is_open_and_within_a_week(windows, now):
    then = next_open(windows, now)

    assert then >= now.replace(second=0, microsecond=0)
    assert then - now <= timedelta(days=7)
    assert is_open(windows, then) or then.year == 9999


@settings(deadline=None)
@given(rules=RULES, known=FACTS, now=MOMENTS)
def test_any_clock_gives_an_answer_that_keeps_the_rules(rules, known, now):
    answer = due(rules, known, now)

    if isinstance(answer, Due):
        age = now - in_the_past(known.trained_at, now)
        assert age >= timedelta(hours=rules.retrain_cooldown_hours)
        assert is_open(rules.training_windows, now)
        assert all(known.labelled_images)
    elif answer.next_at is not None and answer.next_at.year < 9999:
        assert now - answer.next_at <= timedelta(minutes=1)


@settings(deadline=None)
@given(rules=RULES, known=FACTS, now=MOMENTS)
def test_a_training_in_the_future_counts_as_one_that_ended_now(rules, known, now):
    settled = known.model_copy(update={"trained_at": in_the_past(known.trained_at, now)})

    assert due(rules, known, now) == due(rules, settled, now)


@settings(deadline=None)
@given(known=FACTS)
def test_images_that_went_away_are_no_new_labels(known):
    assert 0 <= new_labels(known) <= sum(known.labelled_images)


SCORES = st.none() | st.floats(0, 1)


@settings(deadline=None)
@given(after=SCORES, rival=SCORES, ours=SCORES, floor=st.floats(0, 1))
def test_the_model_in_use_stays_only_where_it_meets_the_floor(after, rival, ours, floor):
    result = FinetuneResult(
        job_id="j", status="done", reason="", balanced_accuracy_after=after,
        balanced_accuracy_rival=rival, balanced_accuracy_against_rival=ours, n_rival=20,
    )  # fmt: skip

    if outlasts(result, floor):
        assert rival is not None
        assert rival >= floor
        assert ours < rival or after is None or after < floor
    elif rival is not None and ours is not None and ours < rival:
        assert rival < floor


def test_a_tie_goes_to_the_newer_model():
    result = FinetuneResult(
        job_id="j", status="done", reason="", balanced_accuracy_after=0.9,
        balanced_accuracy_rival=0.9, balanced_accuracy_against_rival=0.9, n_rival=20,
    )  # fmt: skip

    assert not outlasts(result, 0.8)
