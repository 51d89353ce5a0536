"""What is wrong with single images: too small, copied, contradicting, on both sides of a split."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from device_agent.quality.fingerprint import first_copies, group_copies
from device_agent.quality.look import ImageFile, Seen

Kind = Literal[
    "contradiction",
    "unreadable",
    "tiny",
    "across_split",
    "duplicate",
    "near_duplicate",
    "suspicious_label",
]
SEVEREST_FIRST: tuple[Kind, ...] = (
    "contradiction",
    "unreadable",
    "tiny",
    "across_split",
    "duplicate",
    "suspicious_label",
    "near_duplicate",
)
LEAST_PX = 32


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One image and one thing that is wrong with it; ``other`` is the image that it copies."""

    kind: Kind
    file: ImageFile
    why: str
    other: ImageFile | None = None
    doubt: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "kind": self.kind,
            "image": self.file.name,
            "why": self.why,
            "other": None if self.other is None else self.other.name,
            "doubt": None if self.doubt is None else round(self.doubt, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The images of the data folder that can be used, with a group of copies for each.

    ``groups`` name the first member; ``bits`` is how alike they had to be.
    """

    seen: tuple[Seen, ...]
    groups: tuple[int, ...]
    bits: int


def least_px(input_px: int | None) -> int:
    """Return the shorter side an image must have: half the network's input, 32 at least.

    Below that it is blown up more than twice, and what makes a defect is guessed, not seen.
    """
    return max(LEAST_PX, (input_px or 0) // 2)


def tiny_ones(seen: Iterable[Seen], least: int) -> list[Finding]:
    """Return the images whose shorter side is under ``least`` pixels."""
    return [
        Finding(
            kind="tiny",
            file=one.file,
            why=f"{one.width_px} x {one.height_px} px; the shorter side must have {least}",
        )
        for one in seen
        if min(one.width_px, one.height_px) < least
    ]


def contradictions(seen: Sequence[Seen]) -> list[Finding]:
    """Return every image that stands, pixel for pixel, in both classes."""
    holders: dict[bytes, list[ImageFile]] = defaultdict(list)
    for one in seen:
        holders[one.print.digest].append(one.file)
    found = []
    for files in holders.values():
        for file in files:
            other = next((f for f in files if f.label != file.label), None)
            if other is not None:
                why = f"the same picture is {other.label} as {other.name}"
                found.append(Finding(kind="contradiction", file=file, why=why, other=other))
    return found


def without(seen: Iterable[Seen], findings: Iterable[Finding]) -> tuple[Seen, ...]:
    """Return the images that none of ``findings`` is about."""
    gone = {finding.file for finding in findings}
    return tuple(one for one in seen if one.file not in gone)


def group(seen: Sequence[Seen]) -> Copies:
    """Group copies, flipped, turned and re-encoded ones too, as the trainer will."""
    groups, bits = group_copies([one.print for one in seen])
    return Copies(seen=tuple(seen), groups=tuple(int(g) for g in groups), bits=bits)


def duplicates(copies: Copies) -> list[Finding]:
    """Return the images that copy an earlier one of their own class."""
    found = []
    firsts: dict[tuple[int, str], Seen] = {}
    equals: dict[tuple[bytes, str], Seen] = {}
    for one, number in zip(copies.seen, copies.groups, strict=True):
        label = one.file.label
        equal = equals.setdefault((one.print.digest, label), one)
        first = firsts.setdefault((number, label), one)
        if equal is not one:
            found.append(_exact(one, equal))
        elif first is not one:
            why = f"looks like {first.file.name}, perhaps flipped, turned or saved again"
            near = Finding(kind="near_duplicate", file=one.file, why=why, other=first.file)
            found.append(near)
    return found


def _exact(one: Seen, first: Seen) -> Finding:
    what = "the same file as" if one.sha256 == first.sha256 else "the same picture as"
    why = f"{what} {first.file.name}"
    return Finding(kind="duplicate", file=one.file, why=why, other=first.file)


def across_split(test: Sequence[Seen], data: Copies) -> list[Finding]:
    """Return the test images that copy one of the data folder: they would measure memory."""
    bits = data.bits
    prints = [one.print for one in test]
    copied = first_copies(prints, [one.print for one in data.seen], bits)
    return [
        Finding(
            kind="across_split",
            file=test[row].file,
            why=f"a copy of {data.seen[other].file.name}, which is trained on",
            other=data.seen[other].file,
        )
        for row, other in sorted(copied.items())
    ]


def usable(copies: Copies, label: str) -> int:
    """Return how many different pictures of a class there are."""
    pairs = zip(copies.seen, copies.groups, strict=True)
    return len({number for one, number in pairs if one.file.label == label})
