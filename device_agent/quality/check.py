"""The whole look: every image read once, copies and labels judged, a verdict at the end.

One image is in memory at a time. Nothing is written, moved or sent.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contract.base import TEXT_LENGTH
from contract.report import DataQualityBody
from device_agent.disk.files import sha256_of
from device_agent.machine.profile import CLASSES
from device_agent.quality import findings as find
from device_agent.quality.features import Embedder, views_for
from device_agent.quality.findings import SEVEREST_FIRST, Copies, Finding
from device_agent.quality.labels import LEAST_PER_CLASS, judge_labels
from device_agent.quality.look import ImageFile, Seen, list_files, look_at_all, read_image
from device_agent.quality.request import CheckRequest, CheckSummary
from device_agent.quality.shift import Shift, shift_of
from device_agent.quality.verdict import Counts, Tally, Verdict, judge

BLOCK = 1000
"""Labels judged together: what bounds the memory for features."""
OnProgress = Callable[[str, int, int], None]
"""``on_progress(what, done, total)``."""


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """``accuracy`` is that of the classifier which judged; ``skipped`` says why none did."""

    n_judged: int = 0
    accuracy: float | None = None
    skipped: str | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Everything that was found."""

    request: CheckRequest
    counts: Counts
    findings: tuple[Finding, ...]
    labels: LabelCheck
    shift: Shift | None
    verdict: Verdict

    def tally(self) -> dict[str, int]:
        """Return how many images each kind of finding is about, the severest first."""
        seen = Counter(finding.kind for finding in self.findings)
        return {kind: seen[kind] for kind in SEVEREST_FIRST if seen[kind]}

    def advice(self) -> str:
        """Return what to do, and what the images are unlike where they are."""
        furthest = self.shift.furthest if self.shift else None
        if furthest is None:
            return self.verdict.advice
        unlike = (
            f"{furthest.outside_share:.0%} of the images differ in {furthest.name} from nearly all "
            "that the network was trained on: look at camera and light"
        )
        return f"{self.verdict.advice}. {unlike}".replace("..", ".")[:TEXT_LENGTH]

    def summary(self) -> CheckSummary:
        """Return what an agent reports: counts, never a name."""
        worst = self.shift.worst if self.shift else None
        body = DataQualityBody(
            class_counts={tally.label: tally.found for tally in self.counts.data},
            findings=self.tally(),
            shift=None if worst is None else round(worst.index, 4),
            shifted_statistic=None if worst is None else worst.name,
            enough=self.verdict.enough,
            advice=self.advice(),
        )
        refusal = self.verdict.refusal[:TEXT_LENGTH]
        return CheckSummary(body=body, trainable=self.verdict.trainable, refusal=refusal)

    def facts(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        body = self.summary().body.model_dump(mode="json")
        return body | {
            "trainable": self.verdict.trainable,
            "classes": [tally.__dict__ for tally in self.counts.data],
            "test_classes": [tally.__dict__ for tally in self.counts.test],
            "labels": self.labels.__dict__,
            "statistics": [] if self.shift is None else self.shift.model_dump()["statistics"],
            "images": [finding.facts() for finding in self.findings],
        }


def check(request: CheckRequest, on_progress: OnProgress) -> Quality:
    """Look at the images that ``request`` names; raises DataUnusableError."""
    data = list_files(request.data, "data")
    test = list_files(request.test_data, "test") if request.test_data else []
    seen, unreadable = _read([*data, *test], on_progress)
    tiny = find.tiny_ones(seen, find.least_px(request.input_px))
    torn = find.contradictions(seen)
    sound = find.without(seen, [*tiny, *torn])
    copies = find.group([one for one in sound if one.file.side == "data"])
    held = [one for one in sound if one.file.side == "test"]
    crossing = find.across_split(held, copies)
    unseen = find.group(find.without(held, crossing))
    labels, suspicious = _labels(request, copies, on_progress)
    copied = [*find.duplicates(copies), *find.duplicates(unseen)]
    found = [*torn, *unreadable, *tiny, *crossing, *copied, *suspicious]
    counts = Counts(
        data=_tallies(data, copies),
        test=_tallies(test, unseen) if request.test_data else (),
        n_unreadable=len(unreadable),
        n_contradictions=len(torn),
        n_judged=labels.n_judged,
        n_suspicious=len(suspicious),
    )
    return Quality(
        request=request,
        counts=counts,
        findings=tuple(sorted(found, key=lambda f: SEVEREST_FIRST.index(f.kind))),
        labels=labels,
        shift=_shift(request, [one for one in seen if one.file.side == "data"]),
        verdict=judge(counts),
    )


def _read(files: Sequence[ImageFile], on_progress: OnProgress) -> tuple[list[Seen], list[Finding]]:
    seen, unreadable = list[Seen](), list[Finding]()
    for done, (file, what) in enumerate(look_at_all(list(files)), start=1):
        if isinstance(what, Seen):
            seen.append(what)
        else:
            unreadable.append(Finding(kind="unreadable", file=file, why=what))
        on_progress("reading", done, len(files))
    return seen, unreadable


def _tallies(files: Sequence[ImageFile], copies: Copies) -> tuple[Tally, ...]:
    found = Counter(file.label for file in files)
    return tuple(
        Tally(label=label, found=found[label], usable=find.usable(copies, label))
        for label in CLASSES
    )


def _shift(request: CheckRequest, seen: Sequence[Seen]) -> Shift | None:
    if not seen:
        return None
    names = seen[0].statistics
    values = {name: [one.statistics[name] for one in seen] for name in names}
    return shift_of(values, request.reference)


def _labels(
    request: CheckRequest, copies: Copies, on_progress: OnProgress
) -> tuple[LabelCheck, list[Finding]]:
    """Judge every label, block by block; each block is spread over the whole folder."""
    skipped = _why_not(request)
    if request.model is None or request.input_px is None or skipped is not None:
        return LabelCheck(skipped=skipped), []
    views = views_for(len(copies.seen), request.input_px)
    embedder = Embedder(request.model, request.input_px, request.in_channels, views)
    n_blocks = -(-len(copies.seen) // BLOCK) or 1
    check, found = LabelCheck(), list[Finding]()
    told = _Told(on_progress, len(copies.seen))
    for block in range(n_blocks):
        rows = range(block, len(copies.seen), n_blocks)
        judged, some = _judge_block(embedder, copies, rows, told)
        check = judged if block == 0 else _joined(check, judged)
        found += some
    return check, sorted(found, key=lambda finding: -(finding.doubt or 0.0))


class _Told:
    """Counts images over all blocks."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def one(self) -> None:
        self._done += 1
        self._on_progress("judging labels", self._done, self._total)


def _why_not(request: CheckRequest) -> str | None:
    if request.model is None or request.input_px is None:
        return "there is no network on this box yet to judge labels with"
    if request.model_sha256 is not None and sha256_of(request.model) != request.model_sha256:
        return "the network on this box is damaged"
    return None


def _judge_block(
    embedder: Embedder, copies: Copies, rows: range, told: _Told
) -> tuple[LabelCheck, list[Finding]]:
    features = []
    for row in rows:
        features.append(embedder.features(read_image(copies.seen[row].file.path)))
        told.one()
    labels = np.array([CLASSES.index(copies.seen[row].file.label) for row in rows], np.int64)
    groups = np.array([copies.groups[row] for row in rows], np.int64)
    judged = judge_labels(np.array(features), labels, groups) if features else None
    if judged is None:
        why = f"fewer than {LEAST_PER_CLASS} different pictures in a class"
        return LabelCheck(skipped=why), []
    found = [
        _doubted(copies.seen[row].file, float(doubt))
        for row, doubt, flag in zip(rows, judged.doubt, judged.suspicious, strict=True)
        if flag
    ]
    return LabelCheck(n_judged=len(rows), accuracy=judged.accuracy), found


def _doubted(file: ImageFile, doubt: float) -> Finding:
    other = next(label for label in CLASSES if label != file.label)
    why = f"looks like {other}: {doubt:.0%} by the other images"
    return Finding(kind="suspicious_label", file=file, why=why, doubt=doubt)


def _joined(one: LabelCheck, other: LabelCheck) -> LabelCheck:
    n = one.n_judged + other.n_judged
    if one.accuracy is None or other.accuracy is None:
        return replace(one if one.n_judged >= other.n_judged else other, n_judged=n)
    mean = (one.accuracy * one.n_judged + other.accuracy * other.n_judged) / n
    return LabelCheck(n_judged=n, accuracy=mean)
