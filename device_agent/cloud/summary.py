"""What the box answered in an hour: counts and latencies, never an image. Thread-safe.

Beside the hour's counts it gathers how sure the models here were lately, so that the agent's loop
can tell whether the images have changed.
"""

import threading
from collections import Counter, deque
from datetime import datetime

from contract.inference import Prediction
from contract.report import InferenceSummaryBody
from device_agent.cloud.confidence_drift import MOST_LIVE, WINDOW

WINDOW_S = 3600
_MOST_LATENCIES = 4096
_LONGEST_S = 86_400
_BINS = 10


class InferenceWindow:
    """``note`` what was answered from any thread; ``roll`` from the agent's loop."""

    def __init__(self, start: datetime) -> None:
        self._lock = threading.Lock()
        self._live: deque[float] = deque(maxlen=MOST_LIVE)
        self._reset(start)

    def _reset(self, start: datetime) -> None:
        self._start = start
        self._counts: Counter[str] = Counter()
        self._cloud_count = 0
        self._latencies_ms: list[float] = []
        self._cloud_reasons: Counter[str] = Counter()
        self._confidence_counts = [0] * _BINS
        self._audited_count = 0
        self._drift: float | None = None

    def note(self, prediction: Prediction) -> None:
        """Count what the line was told."""
        with self._lock:
            self._counts[prediction.label] += 1
            if prediction.source == "cloud":
                self._cloud_count += 1
                self._cloud_reasons[prediction.why_cloud or "unknown"] += 1
            else:
                self._note_confidence(prediction)
            if len(self._latencies_ms) < _MOST_LATENCIES:
                self._latencies_ms.append(prediction.latency_ms)

    def note_overruled(self, prediction: Prediction) -> None:
        """Count how sure an answer of this box was that gave way to the cloud's."""
        with self._lock:
            self._note_confidence(prediction)

    def note_audited(self) -> None:
        """Count an image that was kept for a person to look at."""
        with self._lock:
            self._audited_count += 1

    def note_drift(self, drift: float) -> None:
        """Remember how unlike the training images a window was; the worst of the hour counts."""
        with self._lock:
            self._drift = max(drift, self._drift or 0.0)

    def take_live(self) -> list[float] | None:
        """Return the latest confidences once there are enough, and begin anew; else None."""
        with self._lock:
            if len(self._live) < WINDOW:
                return None
            live = list(self._live)
            self._live.clear()
        return live

    def forget_live(self) -> None:
        """Begin anew: another model answers from now on."""
        with self._lock:
            self._live.clear()

    def _note_confidence(self, prediction: Prediction) -> None:
        confidence = max(prediction.probabilities.values(), default=0.0)
        self._confidence_counts[min(int(confidence * _BINS), _BINS - 1)] += 1
        self._live.append(confidence)

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
            cloud_reasons=dict(self._cloud_reasons),
            confidence_counts=tuple(self._confidence_counts),
            audited_count=self._audited_count,
            drift=self._drift,
        )


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values; None of none."""
    if not ordered:
        return None
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
