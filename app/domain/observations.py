"""What a box's outcomes say about a point, independent of the order in which they arrive."""

from dataclasses import dataclass, replace

from contract.decision import Observation
from contract.report import OutcomeBody

FAILURES_BEFORE_GIVING_UP = 3
NEVER = -1


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The running record of one point on one box.

    The peak is the largest seen, the accuracy the latest by sequence number, failures are
    counted: so any order of the same outcomes gives the same record.
    """

    peak_bytes: int | None = None
    balanced_accuracy: float | None = None
    accuracy_sequence: int = NEVER
    failures: int = 0
    failed_permanently: bool = False


def after(seen: Seen, outcome: OutcomeBody, sequence: int) -> Seen:
    """Return the record with one more outcome in it."""
    seen = _with_peak(seen, outcome)
    seen = _with_accuracy(seen, outcome, sequence)
    failures = seen.failures + (outcome.status == "failed" or _over_cap_unmeasured(outcome))
    permanent = (
        seen.failed_permanently
        or outcome.status == "refused"
        or failures >= FAILURES_BEFORE_GIVING_UP
    )
    return replace(seen, failures=failures, failed_permanently=permanent)


def _over_cap_unmeasured(outcome: OutcomeBody) -> bool:
    return outcome.status == "over_cap" and _peak_bytes(outcome) is None


def _peak_bytes(outcome: OutcomeBody) -> int | None:
    """Return the peak that an outcome proves; a trainer stopped at its cap needs more than it."""
    peak = outcome.peak_rss_bytes
    if outcome.status != "over_cap" or outcome.cap_bytes is None:
        return peak
    return max(peak or 0, outcome.cap_bytes + 1)


def _with_peak(seen: Seen, outcome: OutcomeBody) -> Seen:
    peak = _peak_bytes(outcome)
    if peak is None or outcome.status not in {"activated", "below_floor", "over_cap"}:
        return seen
    return replace(seen, peak_bytes=max(peak, seen.peak_bytes or 0))


def _with_accuracy(seen: Seen, outcome: OutcomeBody, sequence: int) -> Seen:
    accuracy = outcome.balanced_accuracy_after
    if outcome.status not in {"activated", "below_floor"} or accuracy is None:
        return seen
    if sequence <= seen.accuracy_sequence:
        return seen
    return replace(seen, balanced_accuracy=accuracy, accuracy_sequence=sequence)


def observation(point_key: str, seen: Seen) -> Observation:
    """Return the record as selection reads it."""
    return Observation(
        point_key=point_key,
        peak_bytes=seen.peak_bytes,
        balanced_accuracy=seen.balanced_accuracy,
        failed_permanently=seen.failed_permanently,
    )
