import pytest

from demo.fleet import FINAL, STANDS_AFTER_S, Patience, current_outcome


def outcome(generation, status="activated"):
    return {"body": {"kind": "outcome", "generation": generation, "status": status}}


OTHERS = [{"body": {"kind": "profile"}}, {"body": {"kind": "event"}}]


def test_the_newest_outcome_of_the_generation_counts():
    reports = [*OTHERS, outcome(3, "activated"), outcome(3, "over_cap"), outcome(2, "failed")]

    assert current_outcome(reports, 3)["status"] == "activated"
    assert current_outcome(reports, 2)["status"] == "failed"


@pytest.mark.parametrize("reports", [[], OTHERS, [outcome(2)]])
def test_without_an_outcome_of_the_generation_the_box_is_still_at_work(reports):
    assert current_outcome(reports, 3) is None


def row(status, generation=1):
    return {"device": {"generation": generation}, "outcome": {"status": status}}


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_good_end_is_final_at_once(status):
    assert Patience().is_final("box", row(status), 0.0)


def test_a_refusal_is_final_when_the_server_has_nothing_better():
    patience = Patience()

    assert not patience.is_final("box", row("over_cap"), 100.0)
    assert not patience.is_final("box", row("over_cap"), 100.0 + STANDS_AFTER_S)
    assert patience.is_final("box", row("over_cap"), 100.1 + STANDS_AFTER_S)


def test_a_new_generation_and_another_box_start_anew():
    patience = Patience()
    patience.is_final("box", row("over_cap"), 0.0)

    later = STANDS_AFTER_S + 1
    assert not patience.is_final("box", row("over_cap", generation=2), later)
    assert not patience.is_final("other", row("over_cap"), later)
