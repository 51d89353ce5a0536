"""Whether the images are enough, and how many more of what are needed. Pure.

Copies count once, and neither what cannot be read, nor what is too small, nor a picture that stands
in both classes counts at all. Training wants ``LEAST_TRAINED`` pictures of each class. Of each,
``LEAST_HELD_BACK`` are wanted to judge by: with fewer, one picture moves the accuracy of a class by
over a tenth. The fine-tune program splits 60/20/20, or 75/25 beside a test folder, hence the
numbers a folder needs. Over 1 to 10 the rarer class is no longer learnt by its weight alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from contract.base import TEXT_LENGTH

LEAST_TRAINED, LEAST_HELD_BACK = 20, 10
LEAST_ALONE = 50
"""20 of them train (60 %) and 10 are tested on (20 %): ceil(20 / 0.6) = 34, 10 / 0.2 = 50."""
LEAST_BESIDE_TEST = 27
"""20 of them train (75 %), where the test images stand in a folder of their own."""
LEAST_AT_ALL = 3
"""Below this a box does not train: a class would be absent from a part of the split."""
MOST_UNBALANCED = 10
MOST_SUSPICIOUS = 0.25
"""Of the labels judged. Where the classes are hard to tell apart, clean boards show up to 0.16."""
MOST_DIRTY = 0.1
"""Of the images found: those that cannot be read, and those that stand in both classes."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """One class of one folder: files found, and different pictures that can be used."""

    label: str
    found: int
    usable: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """``test`` is empty without a test folder."""

    data: tuple[Tally, ...]
    test: tuple[Tally, ...] = ()
    n_unreadable: int = 0
    n_contradictions: int = 0
    n_judged: int = 0
    n_suspicious: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``trainable`` lets a box train; ``enough`` says that the result will mean something."""

    trainable: bool
    refusal: str
    needs: tuple[str, ...] = field(default=())

    @property
    def enough(self) -> bool:
        return self.trainable and not self.needs

    @property
    def advice(self) -> str:
        """Everything that is needed, in one text."""
        told = (*([self.refusal] if self.refusal else ()), *self.needs)
        return ". ".join(told)[:TEXT_LENGTH] if told else "Enough images."


def judge(counts: Counts) -> Verdict:
    """Return the verdict; what it asks for, once done, is enough."""
    refused = [
        _ask(tally, LEAST_AT_ALL, "to train at all")
        for tally in counts.data
        if tally.usable < LEAST_AT_ALL
    ]
    refused += [f"Add images to {t.label} of --test-data" for t in counts.test if not t.found]
    needs = (*_needs_of(counts), *_dirt(counts), *_doubts(counts))
    return Verdict(trainable=not refused, refusal=". ".join(refused), needs=needs)


def least_in(counts: Counts) -> int:
    """Return how many pictures of a class the data folder must hold."""
    return LEAST_BESIDE_TEST if counts.test else LEAST_ALONE


def needed(tallies: Sequence[Tally], least: int) -> dict[str, int]:
    """Return how many pictures each class must have: the least, and a tenth of the largest."""
    largest = max((tally.usable for tally in tallies), default=0)
    return {tally.label: max(least, math.ceil(largest / MOST_UNBALANCED)) for tally in tallies}


def _needs_of(counts: Counts) -> list[str]:
    least = least_in(counts)
    wanted = needed(counts.data, least)
    asked = [
        _ask(tally, wanted[tally.label], _why(wanted[tally.label], least))
        for tally in counts.data
        if tally.usable < wanted[tally.label]
    ]
    held = [
        _ask(tally, LEAST_HELD_BACK, "to judge by", " of --test-data")
        for tally in counts.test
        if tally.usable < LEAST_HELD_BACK
    ]
    return asked + held


def _why(wanted: int, least: int) -> str:
    return "to train and judge by" if wanted == least else f"at most 1 to {MOST_UNBALANCED}"


def _ask(tally: Tally, wanted: int, why: str, where: str = "") -> str:
    more = wanted - tally.usable
    images = "image" if more == 1 else "images"
    return f"Add {more} {images} to {tally.label}{where}: {tally.usable} of {wanted} usable ({why})"


def _dirt(counts: Counts) -> list[str]:
    found = sum(tally.found for tally in (*counts.data, *counts.test))
    dirty = counts.n_unreadable + counts.n_contradictions
    most = math.floor(MOST_DIRTY * found)
    if dirty <= most:
        return []
    what = f"{counts.n_unreadable} cannot be read, {counts.n_contradictions} stand in both classes"
    return [f"Mend or remove {dirty} images: {what} (at most {MOST_DIRTY:.0%} of {found})"]


def _doubts(counts: Counts) -> list[str]:
    if counts.n_suspicious <= MOST_SUSPICIOUS * counts.n_judged:
        return []
    share = f"over {MOST_SUSPICIOUS:.0%} of the {counts.n_judged} judged"
    return [f"Look at {counts.n_suspicious} images whose label looks wrong: {share}"]
