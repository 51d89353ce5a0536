"""A decision in words: one verdict for every point, one sentence why, one on what is next."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.pareto import Costs
from app.domain.units import megabytes, percent
from contract.decision import Failure, Verdict
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.release import Release


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point held against a box. ``failures`` is empty exactly when it fits.

    ``is_current``: the box is on it, which is why its disk was not counted.
    """

    point: FrontierPoint
    peak_bytes: int | None
    costs: Costs | None
    failures: tuple[Failure, ...]
    is_current: bool = False

    @property
    def fits(self) -> bool:
        """Say whether nothing failed and every number is known."""
        return not self.failures and self.costs is not None


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that the explanation tells of. ``above`` names what dominates each fitting point.

    ``best`` is the first of them by the objective (``rank``, smaller is better).
    """

    candidates: Sequence[Candidate]
    chosen: Candidate | None
    best: Candidate | None
    above: Mapping[str, str | None]
    rank: Callable[[Candidate], tuple[float, ...]]
    policy: PolicyBody
    release: Release


def verdicts(story: Story) -> tuple[Verdict, ...]:
    """Return one verdict for every point, in the release's order."""
    return tuple(_verdict(candidate, story) for candidate in story.candidates)


def _verdict(candidate: Candidate, story: Story) -> Verdict:
    point = candidate.point
    return Verdict(
        point_key=point.key,
        variant=point.variant,
        plan_title=point.plan.title,
        accuracy_lower=point.accuracy_lower,
        peak_bytes=candidate.peak_bytes,
        latency_ms=point.latency_ms,
        failures=candidate.failures,
        dominated_by=story.above.get(point.key),
        chosen=candidate is story.chosen,
        text=_verdict_text(candidate, story),
    )


def _verdict_text(candidate: Candidate, story: Story) -> str:
    if candidate.failures or story.chosen is None:
        return _reasons(candidate)
    if candidate is story.chosen:
        spared = "; the box is on it, so its disk is not counted again"
        return f"chosen{spared if candidate.is_current else ''}"
    above = story.above.get(candidate.point.key)
    if above is not None:
        return f"fits, but {above} is nowhere worse and somewhere better"
    if story.rank(candidate) < story.rank(story.chosen):
        margin = percent(story.policy.hysteresis)
        return f"fits, but would not gain more than {margin} accuracy over the box's own point"
    if story.rank(candidate) == story.rank(story.chosen):
        return "fits, but is no better by the policy's objective"
    return "fits, but comes later in the policy's objective"


def why(story: Story) -> str:
    """Return one sentence: why this point, or why none."""
    if story.chosen is None:
        return _why_nothing(story)
    fitting = sum(c.fits for c in story.candidates)
    head = f"{title(story.chosen)}: {figures(story.chosen)}"
    first = story.policy.objective[0].replace("_", " ")
    margin = percent(story.policy.hysteresis)
    if story.best is not None and story.rank(story.best) < story.rank(story.chosen):
        if story.chosen.is_current:
            return (
                f"{head}; the box stays on it, because {title(story.best)} would not gain more "
                f"than {margin} accuracy."
            )
        return f"{head}; first by '{first}' of those that gain more than {margin} accuracy."
    return f"{head}; first by '{first}' of {fitting} points that fit, of {len(story.candidates)}."


def _why_nothing(story: Story) -> str:
    nearest = nearest_miss(story.candidates)
    if nearest is None:
        return f"Release {story.release.number} has no points."
    return (
        f"None of {len(story.candidates)} points fits. The nearest is {title(nearest)}: "
        f"{_reasons(nearest)}."
    )


def next_better(story: Story) -> str:
    """Return why the best point that did not fit was not taken."""
    missed = [c for c in story.candidates if not c.fits]
    if story.chosen is not None:
        mine = story.rank(story.chosen)
        missed = [c for c in missed if story.rank(c) < mine]
    if not missed:
        return "No point that did not fit would have been better."
    best = min(missed, key=lambda c: (story.rank(c), c.point.key))
    accuracy = best.point.accuracy_lower
    promise = "" if accuracy is None else f" ({percent(accuracy)} accuracy)"
    return f"{title(best)}{promise} would be better, but: {_reasons(best)}."


def _reasons(candidate: Candidate) -> str:
    return "; ".join(f.text for f in candidate.failures)


def nearest_miss(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return what comes closest: fewest failures, then the smallest relative shortfall."""
    missed = [c for c in candidates if not c.fits]
    return min(missed, key=lambda c: (len(c.failures), _shortfall(c), c.point.key), default=None)


def _shortfall(candidate: Candidate) -> float:
    return sum(_relative(f) for f in candidate.failures)


def _relative(failure: Failure) -> float:
    if failure.needed is None or failure.allowed is None:
        return math.inf
    if failure.allowed <= 0:
        return failure.needed
    return failure.needed / failure.allowed - 1


def title(candidate: Candidate) -> str:
    """Return the point as people name it: variant and plan."""
    return f"{candidate.point.variant} ({candidate.point.plan.title})"


def figures(candidate: Candidate) -> str:
    """Return the promise in figures."""
    lower, peak = candidate.point.accuracy_lower, candidate.peak_bytes
    accuracy = "unknown" if lower is None else percent(lower)
    memory = "unknown" if peak is None else megabytes(peak)
    return f"at least {accuracy} accuracy within {memory}"
