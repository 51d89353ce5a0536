"""What is asked for is enough, and nothing more is asked than that."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.quality.verdict import LEAST_AT_ALL, Counts, Tally, judge

numbers = st.integers(0, 2000)


def counts(ok, defect, *, test=None, **dirt):
    held = () if test is None else tuple(tally(n, t) for n, t in zip(NAMES, test, strict=True))
    return Counts(data=(tally("ok", ok), tally("defect", defect)), test=held, **dirt)


NAMES = ("ok", "defect")


def tally(label, usable):
    return Tally(label=label, found=usable, usable=usable)


def asked(text):
    """Return how many images of what a text asks for, by class and folder."""
    found = re.findall(r"Add (\d+) images? to (\w+)( of --test-data)?", text)
    return {(label, bool(where)): int(n) for n, label, where in found}


@given(numbers, numbers, st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)))
def test_adding_what_is_asked_for_is_enough_and_one_less_is_not(ok, defect, test):
    before = counts(ok, defect, test=test)
    wanted = asked(". ".join(judge(before).needs))

    def added(less):
        return Counts(
            data=tuple(more(t, wanted.get((t.label, False), 0), less) for t in before.data),
            test=tuple(more(t, wanted.get((t.label, True), 0), less) for t in before.test),
        )

    assert judge(added(0)).enough
    assert judge(before).enough == (not wanted)
    assert not (wanted and judge(added(1)).enough)


def more(before, n, less):
    return replace(before, usable=before.usable + max(0, n - less))


@given(numbers, numbers, numbers)
def test_a_box_trains_exactly_from_three_usable_of_each_class_on(ok, defect, judged):
    verdict = judge(counts(ok, defect, n_judged=judged))

    assert verdict.trainable == (min(ok, defect) >= LEAST_AT_ALL)
    assert bool(verdict.refusal) != verdict.trainable
    assert verdict.advice
    assert len(verdict.advice) <= 2000


@given(st.integers(50, 500), st.integers(0, 60), st.integers(0, 60), st.integers(0, 400))
def test_more_dirt_never_makes_it_enough(n, unreadable, contradictions, suspicious):
    dirt = {"n_unreadable": unreadable, "n_contradictions": contradictions, "n_judged": 400}
    clean = judge(counts(n, n, **dirt, n_suspicious=suspicious))
    dirtier = judge(counts(n, n, **dirt, n_suspicious=suspicious + 1))

    assert clean.enough or not dirtier.enough


@pytest.mark.parametrize(
    ("given_counts", "words"),
    [
        (counts(80, 16), "Add 34 images to defect: 16 of 50 usable (to train and judge by)"),
        (counts(2000, 60), "Add 140 images to defect: 60 of 200 usable (at most 1 to 10)"),
        (counts(80, 49), "Add 1 image to defect"),
        (counts(40, 40, test=(30, 4)), "Add 6 images to defect of --test-data: 4 of 10 usable"),
        (counts(80, 2), "Add 1 image to defect: 2 of 3 usable (to train at all)"),
        (counts(80, 80, n_unreadable=17), "Mend or remove 17 images: 17 cannot be read, 0 stand"),
        (counts(80, 80, n_judged=160, n_suspicious=41), "Look at 41 images whose label"),
        (counts(80, 80, n_judged=160, n_suspicious=40, n_unreadable=16), "Enough images."),
    ],
)
def test_the_advice_says_how_many_more_of_what(given_counts, words):
    verdict = judge(given_counts)

    assert words in verdict.advice
    assert verdict.enough == (words == "Enough images.")
