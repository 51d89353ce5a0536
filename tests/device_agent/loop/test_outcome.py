"""What a training's end means."""

import dataclasses

import pytest

from contract.finetune import FinetuneResult
from contract.report import OutcomeBody
from device_agent.loop.outcome import judge_result, judge_run, outcome_body, seen_peak_bytes
from device_agent.training.trainer import TrainerRun

RESULT = FinetuneResult(
    job_id="j", status="done", reason="", balanced_accuracy_after=0.9, n_test=20, floor_bytes=5
)
RUN = TrainerRun(
    ending="exited", returncode=0, result=RESULT, peak_rss_bytes=70, peak_anonymous_bytes=30,
    cap_kinds=("rss_watchdog",), log_tail="last words", seconds=2.0,
)  # fmt: skip
CAP = 100


@pytest.mark.parametrize(
    ("changes", "kind", "status"),
    [
        ({}, "go_on", None),
        ({"returncode": 2}, "data", None),
        ({"returncode": 3}, "report", "over_cap"),
        ({"returncode": 4}, "report", "refused"),
        ({"returncode": 5}, "disk", None),
        ({"returncode": -11}, "retry", None),
        ({"returncode": -9}, "retry", None),
        ({"returncode": 125}, "retry", None),
        ({"result": None}, "retry", None),
        ({"ending": "hung", "returncode": -9}, "retry", None),
        ({"ending": "deadline", "returncode": -15}, "retry", None),
        ({"ending": "over_cap", "returncode": -9}, "report", "over_cap"),
        ({"ending": "starved", "returncode": -9}, "later", None),
        ({"ending": "stopped", "returncode": 143}, "stopped", None),
        ({"result": dataclasses.replace(RESULT, status="diverged")}, "retry", None),
    ],
)
def test_every_ending_has_a_meaning(changes, kind, status):
    end = judge_run(dataclasses.replace(RUN, **changes), CAP)

    assert (end.kind, end.status) == (kind, status)


def test_a_broken_cap_reports_a_peak_above_it():
    killed = dataclasses.replace(RUN, ending="over_cap", returncode=-9)

    assert seen_peak_bytes(killed, CAP) == CAP + 1
    assert seen_peak_bytes(RUN, CAP) == 70


def test_the_trainer_s_last_words_are_told():
    assert "last words" in judge_run(dataclasses.replace(RUN, returncode=-6), CAP).text


@pytest.mark.parametrize(
    ("after", "floor", "rival", "status"),
    [
        (0.9, 0.8, None, "activated"),
        (0.8, 0.8, None, "activated"),
        (0.79, 0.8, None, "below_floor"),
        (0.9, 0.8, 0.95, "refused"),
        (0.9, 0.8, 0.9, "activated"),
        (None, 0.0, None, "refused"),
        (float("nan"), 0.0, None, "refused"),
        (float("inf"), 0.0, None, "refused"),
        (1.5, 0.0, None, "refused"),
    ],
)
def test_the_floor_and_the_active_model_judge(after, floor, rival, status):
    verdict = judge_result(dataclasses.replace(RESULT, balanced_accuracy_after=after), floor, rival)

    assert verdict.status == status
    assert verdict.accepted == (status == "activated")


def test_the_outcome_carries_what_was_measured():
    base = OutcomeBody(
        generation=1, release_number=1, point_key="p", status="over_cap", reason="x" * 1999
    )
    body = outcome_body(base, RESULT, dataclasses.replace(RUN, returncode=3), CAP)

    assert body.peak_rss_bytes == CAP + 1
    assert body.cap_kinds == ("rss_watchdog",)
    assert body.balanced_accuracy_after == 0.9
    assert body.floor_bytes == 5
    assert len(body.reason) < 2000
