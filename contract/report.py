"""What a box tells the server after the fact. Idempotent; may come late, twice, out of order."""

from typing import Annotated, Literal

from pydantic import Field

from contract.base import ByteCount, Count, Fraction, Label, Message, Seconds, Text, Utc
from contract.device import DeviceProfile

OutcomeStatus = Literal[
    "activated", "below_floor", "over_cap", "refused", "failed", "cloud", "idle", "deferred"
]


class ProfileBody(Message):
    kind: Literal["profile"] = "profile"
    profile: DeviceProfile


class OutcomeBody(Message):
    """How one assignment ended on the box.

    ``over_cap`` says that the trainer passed its cap and was stopped; ``below_floor`` that the
    result on held-back images was under the policy's floor and the old model was kept.
    """

    kind: Literal["outcome"] = "outcome"
    generation: Count
    release_number: Count
    point_key: Label | None
    status: OutcomeStatus
    reason: Text
    balanced_accuracy_before: Fraction | None = None
    balanced_accuracy_after: Fraction | None = None
    n_train: Count | None = None
    n_test: Count | None = None
    peak_rss_bytes: ByteCount | None = None
    peak_anonymous_bytes: ByteCount | None = None
    floor_bytes: ByteCount | None = None
    cap_bytes: ByteCount | None = None
    cap_kinds: tuple[Label, ...] = ()
    seconds: Seconds | None = None
    model_sha256: Label | None = None


class InferenceSummaryBody(Message):
    kind: Literal["inference_summary"] = "inference_summary"
    window_start: Utc
    window_s: Annotated[int, Field(ge=1, le=86_400)]
    counts: dict[Label, Count]
    cloud_count: Count
    latency_ms_p50: Annotated[float, Field(ge=0.0, le=1e9)] | None = None
    latency_ms_p99: Annotated[float, Field(ge=0.0, le=1e9)] | None = None


class EventBody(Message):
    kind: Literal["event"] = "event"
    name: Label
    fields: dict[Label, Text] = Field(default_factory=dict)


ReportBody = Annotated[
    ProfileBody | OutcomeBody | InferenceSummaryBody | EventBody, Field(discriminator="kind")
]


class Report(Message):
    """``key`` makes a report idempotent; ``sequence`` orders the reports of one box."""

    key: Label
    sequence: Count
    sent_at: Utc
    body: ReportBody


class ReportBatch(Message):
    reports: Annotated[tuple[Report, ...], Field(min_length=1, max_length=200)]


class ReportReceipt(Message):
    key: Label
    status: Literal["stored", "duplicate"]


class ReportReceipts(Message):
    receipts: tuple[ReportReceipt, ...]
