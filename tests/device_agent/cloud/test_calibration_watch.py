"""From a training to a threshold that the server knows, through drift, restarts and new rules."""

import json
from random import Random

import pytest

from contract.inference import Prediction
from contract.report import CalibrationBody, EventBody, InferenceSummaryBody
from contract.rules import BoxRules
from device_agent.cloud.calibration_store import Calibrations, read_watch
from device_agent.cloud.calibration_watch import watch_calibration
from device_agent.cloud.confidence_drift import WINDOW
from device_agent.loop.status import read_status
from tests.device_agent.fleet import cloud_prediction

PROMISE = BoxRules(max_risk=0.1, risk_confidence=0.9)


def told(fleet, kind=CalibrationBody) -> list:
    ordered = sorted(fleet.reports.values(), key=lambda report: report.sequence)
    return [report.body for report in ordered if isinstance(report.body, kind)]


def events(fleet, name: str) -> list[str]:
    return [body.fields["text"] for body in told(fleet, EventBody) if body.name == name]


def answer(confidence: float) -> Prediction:
    chances = {"ok": confidence, "defect": 1 - confidence}
    facts = cloud_prediction() | {"probabilities": chances, "source": "device"}
    return Prediction.model_validate(facts)


def alike(n: int = WINDOW) -> list[float]:
    """Return confidences like those that the fake trainer scored: even over [0.5, 1)."""
    random = Random(3)  # noqa: S311 - a simulation
    return [0.5 + random.random() / 2 for _ in range(n)]


@pytest.fixture
def promising(fleet):
    fleet.fallback, fleet.images_may_leave, fleet.rules = "low_confidence", True, PROMISE
    return fleet


@pytest.fixture
def judge(open_box, promising):  # noqa: ARG001 - the policy before the box
    """An agent that has trained, and what makes it answer so many images and go round once."""
    agent = open_box()
    agent.run_once()

    def answers(*confidences: float) -> None:
        for confidence in confidences:
            agent.window.note(answer(confidence))
        agent.cycle()

    answers.agent = agent
    return answers


def test_a_model_that_becomes_active_is_calibrated_and_the_server_told_at_once(judge, promising):
    (body,) = told(promising)

    active = judge.agent.box.shelf.active()
    assert (body.model_sha256, body.promise, body.promised) == (active.sha256, "max_risk", 0.1)
    assert (body.threshold, body.n, body.kept_share, body.confidence) == (0.5, 100, 1.0, 0.9)


def test_it_is_told_once_whatever_the_number_of_rounds_and_restarts(judge, promising, open_box):
    for _ in range(3):
        judge()
    open_box().run_once()

    assert len([r for r in promising.received if isinstance(r.body, CalibrationBody)]) == 1


def test_new_rules_are_told_again(judge, promising):
    promising.rules, promising.generation = BoxRules(max_offload=0.2), 7
    judge()
    judge()

    assert [body.promise for body in told(promising)] == ["max_risk", "max_offload"]


@pytest.mark.parametrize(
    ("fallback", "may_leave"), [("low_confidence", False), ("on_failure", True)]
)
def test_where_doubt_sends_nothing_nothing_is_told(open_box, fleet, fallback, may_leave):
    fleet.fallback, fleet.images_may_leave, fleet.rules = fallback, may_leave, PROMISE
    open_box().run_once()

    assert told(fleet) == []


def test_a_training_without_scores_sends_everything(open_box, promising, settings):
    agent = open_box()
    agent.run_once()
    for path in settings.state.rglob("scores.json"):
        path.write_bytes(b"{")
    promising.rules, promising.generation = BoxRules(max_risk=0.2), 7
    agent.cycle()

    assert (told(promising)[-1].threshold, told(promising)[-1].n) == (None, 0)


def test_images_like_the_held_back_ones_change_nothing(judge, promising):
    judge(*alike())

    assert len(told(promising)) == 1
    assert events(promising, "drift") == []


def test_drift_is_told_with_the_threshold_that_holds_now(judge, promising):
    judge(*[0.62] * WINDOW)

    assert len(events(promising, "drift")) == 1
    assert "population stability index" in events(promising, "drift")[0]
    before, after = told(promising)
    assert before.threshold == 0.5
    assert after.threshold is None or after.threshold > 0.62
    assert after.n == WINDOW


def test_a_drift_that_lasts_is_told_once_and_its_end_once(judge, promising):
    for _ in range(3):
        judge(*[0.62] * WINDOW)
    assert (len(told(promising)), len(events(promising, "drift"))) == (2, 1)

    judge(*alike())
    judge(*alike())

    assert len(told(promising)) == 3
    assert told(promising)[-1] == told(promising)[0]
    judge(*[0.97] * WINDOW)
    assert (len(told(promising)), len(events(promising, "drift"))) == (4, 2)


def test_drift_outlives_a_restart(judge, promising, open_box):
    judge(*[0.62] * WINDOW)
    agent = open_box()
    agent.run_once()

    assert len(read_watch(agent.box.paths).live) == WINDOW
    assert len(told(promising)) == 2


def test_a_new_model_begins_anew(judge):
    judge(*[0.62] * WINDOW)
    agent = judge.agent
    judge(*[0.62] * (WINDOW - 1))
    before = read_watch(agent.box.paths)
    folder = agent.box.shelf.folder(agent.box.shelf.active_id())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": "cd" * 32}))

    watch_calibration(agent.box, agent.state.desired, agent.window)
    watch = read_watch(agent.box.paths)

    assert (watch.model_sha256, watch.live) == ("cd" * 32, ())
    assert watch.revision > before.revision
    agent.window.note(answer(0.62))
    assert agent.window.take_live() is None


def test_the_hours_summary_says_how_far_the_images_drifted(judge, promising):
    judge(*[0.62] * WINDOW)
    judge.agent.close()
    judge.agent.cycle()

    (summary,) = told(promising, InferenceSummaryBody)
    assert summary.drift > 0.25
    assert summary.confidence_counts == (0, 0, 0, 0, 0, 0, WINDOW, 0, 0, 0)


def test_a_box_without_a_model_watches_nothing(open_box):
    agent = open_box()
    watch_calibration(agent.box, agent.state.desired, agent.window)

    assert not agent.box.paths.calibration.exists()


def test_the_status_says_what_is_sent_and_what_is_kept_for_a_person(judge):
    facts = read_status(judge.agent.box.paths)

    assert facts["sent_to_the_cloud"].startswith("answers less sure than 0.5000")
    assert facts["audit"] == {"samples": 0, "bytes": 0}


def test_the_predictor_of_a_running_agent_follows_threshold_and_drift(judge):
    agent = judge.agent
    active, rules = agent.box.shelf.active(), agent.state.desired.rules
    calibrations = Calibrations(agent.box.paths)
    assert calibrations.threshold(active, rules).trusts(0.7)

    judge(*[0.62] * WINDOW)

    assert not calibrations.threshold(active, rules).trusts(0.62)
