"""What the box answered in an hour: counts and latencies, never an image. Thread-safe."""

import threading
from collections import Counter
from datetime import datetime

from contract.inference import Prediction
from contract.report import InferenceSummaryBody

WINDOW_S = 3600
_MOST_LATENCIES = 4096
_LONGEST_S = 86_400


class InferenceWindow:
    """``note`` a prediction from any thread; ``roll`` from the agent's loop."""

    def __init__(self, start: datetime) -> None:
        self._lock = threading.Lock()
        self._reset(start)

    def _reset(self, start: datetime) -> None:
        self._start = start
        self._counts: Counter[str] = Counter()
        self._cloud_count = 0
        self._latencies_ms: list[float] = []

    def note(self, prediction: Prediction) -> None:
        with self._lock:
            self._counts[prediction.label] += 1
            self._cloud_count += prediction.source == "cloud"
            if len(self._latencies_ms) < _MOST_LATENCIES:
                self._latencies_ms.append(prediction.latency_ms)

    def roll(self, now: datetime, *, force: bool = False) -> InferenceSummaryBody | None:
        """Return the window's summary once its hour is over (or ``force``); None when empty.

        A clock that jumps back starts a new window; the counts are kept.
        """
        with self._lock:
            spent_s = (now - self._start).total_seconds()
            if not force and 0 <= spent_s < WINDOW_S:
                return None
            body = self._body(spent_s) if self._counts else None
            self._reset(now)
        return body

    def _body(self, spent_s: float) -> InferenceSummaryBody:
        ordered = sorted(self._latencies_ms)
        return InferenceSummaryBody(
            window_start=self._start,
            window_s=min(max(round(spent_s), 1), _LONGEST_S),
            counts=dict(self._counts),
            cloud_count=self._cloud_count,
            latency_ms_p50=percentile(ordered, 0.50),
            latency_ms_p99=percentile(ordered, 0.99),
        )


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values; None of none."""
    if not ordered:
        return None
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
