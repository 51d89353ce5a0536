"""The outbox: durable, bounded, in order, each report once."""

import shutil
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contract.report import (
    DataQualityBody,
    EventBody,
    InferenceSummaryBody,
    OutcomeBody,
    ProfileBody,
    Report,
)
from device_agent.errors import DiskFullError, StateError
from device_agent.server.outbox import Outbox, merge_summaries
from tests.device_agent.conftest import make_profile

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OUTCOME = OutcomeBody(
    generation=1, release_number=1, point_key="p", status="activated", reason="good"
)


def summary(hour: int = 0, count: int = 1) -> InferenceSummaryBody:
    start = NOW + timedelta(hours=hour)
    return InferenceSummaryBody(
        window_start=start, window_s=3600, counts={"ok": count}, cloud_count=0, latency_ms_p50=1.0
    )


def fill(outbox: Outbox) -> None:
    for number in range(100):
        outbox.add(f"e{number}", EventBody(name="e", fields={"x": "y" * 1999}), NOW)


def test_a_key_is_kept_once(tmp_path):
    with Outbox(tmp_path / "o.sqlite3") as outbox:
        assert outbox.add("a", OUTCOME, NOW)
        assert not outbox.add("a", OUTCOME, NOW)
        assert len(outbox) == 1


def test_numbers_grow_across_restarts_and_acknowledgements(tmp_path):
    path = tmp_path / "o.sqlite3"
    with Outbox(path, first_sequence=100) as outbox:
        outbox.add("a", OUTCOME, NOW)
        outbox.acknowledge(["a"])
    with Outbox(path, first_sequence=1) as outbox:
        outbox.add("b", OUTCOME, NOW)
        assert [r.sequence for r in outbox.batch().reports] == [101]


def test_batches_are_in_order_and_at_most_200(tmp_path):
    with Outbox(tmp_path / "o.sqlite3") as outbox:
        for number in range(201):
            outbox.add(str(number), EventBody(name="e"), NOW)
        batch = outbox.batch()

        assert [r.key for r in batch.reports] == [str(n) for n in range(200)]


def test_a_batch_stays_under_the_server_s_body_limit(tmp_path):
    fields = {str(n): "x" * 1900 for n in range(30)}
    with Outbox(tmp_path / "o.sqlite3") as outbox:
        for number in range(30):
            outbox.add(str(number), EventBody(name="e", fields=fields), NOW)

        assert len(outbox.batch().model_dump_json()) < 1_000_000


def test_over_its_cap_only_the_newest_profile_stays(tmp_path):
    body = ProfileBody(profile=make_profile())
    size = len(body.model_dump_json())
    with Outbox(tmp_path / "o.sqlite3", cap_bytes=3 * size) as outbox:
        for number in range(10):
            outbox.add(str(number), body, NOW)

        assert outbox.size_bytes() <= 3 * size
        assert outbox.batch().reports[-1].key == "9"


def test_over_its_cap_summaries_are_added_up(tmp_path):
    with Outbox(tmp_path / "o.sqlite3", cap_bytes=600) as outbox:
        for hour in range(12):
            outbox.add(str(hour), summary(hour, count=hour), NOW)
        bodies = [r.body for r in outbox.batch().reports]

        assert sum(body.counts["ok"] for body in bodies) == sum(range(12))
        assert outbox.size_bytes() <= 600


def test_a_summary_that_may_have_arrived_is_never_added_up(tmp_path):
    with Outbox(tmp_path / "o.sqlite3", cap_bytes=400) as outbox:
        outbox.add("sent", summary(0), NOW)
        outbox.mark_tried(["sent"])
        for hour in range(1, 4):
            outbox.add(str(hour), summary(hour), NOW)

        kept = {r.key: r.body for r in outbox.batch().reports}
        assert "sent" not in kept or kept["sent"].counts == {"ok": 1}


def test_outcomes_are_never_dropped(tmp_path):
    with Outbox(tmp_path / "o.sqlite3", cap_bytes=10) as outbox:
        for number in range(20):
            outbox.add(str(number), OUTCOME, NOW)
            outbox.add(f"e{number}", EventBody(name="e"), NOW)

        assert [r.key for r in outbox.batch().reports] == [str(n) for n in range(20)]


@given(st.integers(0, 30), st.integers(0, 100), st.integers(0, 100))
def test_adding_up_keeps_every_count(hours, first, second):
    merged = merge_summaries(summary(0, first), summary(hours, second))

    if merged is None:
        assert hours > 22
    else:
        assert merged.counts.get("ok", 0) == first + second
        assert merged.latency_ms_p50 is None


def test_a_damaged_file_is_put_aside_and_numbers_go_on_above(tmp_path):
    path = tmp_path / "o.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    with Outbox(path, first_sequence=500) as outbox:
        outbox.add("a", OUTCOME, NOW)

        assert outbox.batch().reports[0].sequence == 500
    assert (tmp_path / "o.sqlite3.corrupt").exists()


def test_a_full_disk_has_a_name_and_loses_nothing(tmp_path):
    path = tmp_path / "o.sqlite3"
    with Outbox(path) as outbox:
        outbox.add("a", OUTCOME, NOW)
        pages = outbox._database.execute("PRAGMA page_count").fetchone()[0]  # noqa: SLF001
        outbox._database.execute(f"PRAGMA max_page_count={pages}")  # noqa: SLF001
        with pytest.raises(DiskFullError, match="make room"):
            fill(outbox)

        assert outbox.batch().reports[0].key == "a"


def test_a_lock_by_another_program_is_named(tmp_path):
    path = tmp_path / "o.sqlite3"
    with Outbox(path) as outbox:
        outbox._database.execute("PRAGMA busy_timeout=0")  # noqa: SLF001
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="no other program holds it"):
            outbox.add("a", OUTCOME, NOW)
        other.close()


def test_of_what_says_how_things_stand_the_newest_is_kept(tmp_path):
    quality = DataQualityBody(class_counts={}, findings={}, enough=True, advice="none")
    with Outbox(tmp_path / "o.sqlite3") as outbox:
        for number in range(3):
            outbox.add(f"p{number}", ProfileBody(profile=make_profile(n_ok=number)), NOW)
            outbox.add(f"q{number}", quality, NOW)

        assert [r.key for r in outbox.batch().reports] == ["p2", "q2"]


def test_a_profile_that_may_have_arrived_is_not_overtaken(tmp_path):
    body = ProfileBody(profile=make_profile())
    with Outbox(tmp_path / "o.sqlite3") as outbox:
        outbox.add("sent", body, NOW)
        outbox.mark_tried(["sent"])
        outbox.add("new", body, NOW)

        assert [r.key for r in outbox.batch().reports] == ["sent", "new"]


def test_a_gap_of_days_does_not_keep_later_summaries_apart(tmp_path):
    with Outbox(tmp_path / "o.sqlite3", cap_bytes=500) as outbox:
        for hour in (0, 100, 101, 102):
            outbox.add(str(hour), summary(hour), NOW)
        bodies = [r.body for r in outbox.batch().reports]

    assert [body.counts["ok"] for body in bodies] == [1, 3]


def test_adding_up_keeps_every_figure_that_adds():
    one = summary().model_copy(
        update={
            "cloud_reasons": {"low_confidence": 2}, "confidence_counts": (1,) * 10,
            "audited_count": 3, "drift": 0.2,
        }
    )  # fmt: skip
    other = summary(1).model_copy(update={"cloud_reasons": {"on_failure": 1}, "drift": 0.1})

    merged = merge_summaries(one, other)

    assert merged.cloud_reasons == {"low_confidence": 2, "on_failure": 1}
    assert merged.confidence_counts == (1,) * 10
    assert (merged.audited_count, merged.drift) == (3, 0.2)


@pytest.mark.parametrize("clock_ms", [1, 10**9])
def test_numbers_go_on_above_whatever_the_clock_and_the_file_say(tmp_path, clock_ms):
    path = tmp_path / "o.sqlite3"
    with Outbox(path, first_sequence=10**6) as outbox:
        outbox.add("a", OUTCOME, NOW)
        highest = outbox.batch().reports[0].sequence
    path.write_bytes(b"this is not a database" * 100)
    with Outbox(path, first_sequence=clock_ms) as outbox:
        outbox.add("b", OUTCOME, NOW)

        assert outbox.batch().reports[0].sequence > highest


BODIES = {
    "outcome": lambda n: OUTCOME,  # noqa: ARG005 - they all take the number
    "event": lambda n: EventBody(name="e", fields={"n": str(n)}),
    "inference_summary": summary,
    "profile": lambda n: ProfileBody(profile=make_profile(n_ok=n)),
}


class BoundedMachine(RuleBasedStateMachine):
    """A small cap, every kind, lost answers, power cuts: results survive and order holds."""

    CAP_BYTES = 1500

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.n_folders = 0
        self.number = 0
        self.open(Path(self.folder.name) / "0")
        self.outcomes: set[str] = set()
        self.counted = 0
        self.server: dict[str, Report] = {}
        self.newest_profile: str | None = None

    def open(self, folder: Path) -> None:
        self.path = folder / "o.sqlite3"
        self.outbox = Outbox(self.path, self.CAP_BYTES, first_sequence=1)

    def waiting(self) -> list[Report]:
        batch = self.outbox.batch()
        return list(batch.reports) if batch else []

    @rule(kind=st.sampled_from(sorted(BODIES)))
    def add(self, kind: str) -> None:
        self.number += 1
        key = f"{kind}-{self.number}"
        assert self.outbox.add(key, BODIES[kind](self.number), NOW)
        if kind == "outcome":
            self.outcomes.add(key)
        self.counted += kind == "inference_summary"
        self.newest_profile = key if kind == "profile" else self.newest_profile

    @rule(answer_lost=st.booleans(), taken=st.integers(1, 8))
    def send(self, *, answer_lost: bool, taken: int) -> None:
        sent = self.waiting()[:taken]
        self.outbox.mark_tried([r.key for r in sent])
        for report in sent:
            known = self.server.setdefault(report.key, report)
            assert known == report, "a report that may have arrived never changes"
        if not answer_lost:
            self.outbox.acknowledge([r.key for r in sent])

    @rule()
    def lose_power(self) -> None:
        """Go on from a copy of the files as they lie on the disk at this moment."""
        self.n_folders += 1
        copy = Path(self.folder.name) / str(self.n_folders)
        shutil.copytree(self.path.parent, copy)
        self.outbox.close()
        self.open(copy)

    @invariant()
    def results_are_kept_and_the_rest_is_bounded(self) -> None:
        waiting = self.waiting()
        keys = {r.key for r in waiting}
        assert self.outcomes <= keys | set(self.server)
        assert self.newest_profile is None or self.newest_profile in keys | set(self.server)
        profiles = [r for r in waiting if r.body.kind == "profile"]
        results = [r for r in waiting if r.body.kind == "outcome"]
        always = sum(len(r.body.model_dump_json()) for r in [*results, *profiles[-1:]])
        assert self.outbox.size_bytes() <= max(self.CAP_BYTES, always)

    @invariant()
    def summaries_are_never_counted_twice(self) -> None:
        every = {r.key: r.body for r in [*self.server.values(), *self.waiting()]}
        told = sum(b.counts["ok"] for b in every.values() if b.kind == "inference_summary")
        assert told <= self.counted

    @invariant()
    def they_go_out_in_order(self) -> None:
        numbers = [r.sequence for r in self.waiting()]
        assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


TestBoundedMachine = BoundedMachine.TestCase
TestBoundedMachine.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


class OutboxMachine(RuleBasedStateMachine):
    """Whatever order of adding, sending, losing answers and restarting: nothing lost or doubled."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "o.sqlite3"
        self.outbox = Outbox(self.path, first_sequence=1)
        self.added: list[str] = []
        self.server: dict[str, int] = {}

    @rule(number=st.integers(0, 15))
    def add(self, number: int) -> None:
        key = f"k{number}"
        new = self.outbox.add(key, OUTCOME, NOW)
        if new and key not in self.added:
            self.added.append(key)

    @rule(answer_lost=st.booleans(), taken=st.integers(0, 5))
    def send(self, *, answer_lost: bool, taken: int) -> None:
        batch = self.outbox.batch()
        if batch is None:
            return
        keys = [r.key for r in batch.reports][: taken + 1]
        self.outbox.mark_tried(keys)
        for report in batch.reports[: taken + 1]:
            self.server.setdefault(report.key, report.sequence)
        if not answer_lost:
            self.outbox.acknowledge(keys)

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = Outbox(self.path, first_sequence=1)

    @invariant()
    def nothing_is_lost(self) -> None:
        batch = self.outbox.batch()
        waiting = {r.key for r in batch.reports} if batch else set()
        assert set(self.added) == waiting | set(self.server)

    @invariant()
    def numbers_are_unique(self) -> None:
        batch = self.outbox.batch()
        numbers = [r.sequence for r in batch.reports] if batch else []
        assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
