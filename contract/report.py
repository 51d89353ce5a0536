"""What a box tells the server after the fact. Idempotent; may come late, twice, out of order."""

from typing import Annotated, Literal

from pydantic import Field

from contract.base import (
    ByteCount,
    Count,
    Fraction,
    Label,
    Message,
    Positive,
    Seconds,
    Sha256,
    Text,
    Utc,
)
from contract.device import DeviceProfile

OutcomeStatus = Literal[
    "activated",
    "below_floor",
    "over_cap",
    "refused",
    "failed",
    "cloud",
    "idle",
    "deferred",
    "rolled_back",
]


class ProfileBody(Message):
    kind: Literal["profile"] = "profile"
    profile: DeviceProfile


class OutcomeBody(Message):
    """How one assignment ended on the box.

    ``over_cap`` says that the trainer passed its cap and was stopped; ``below_floor`` that the
    result on held-back images was under the policy's floor and the old model was kept.
    ``micro_batch`` is what the box trained with, where that is smaller than the plan's.
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
    micro_batch: Positive | None = None
    model_sha256: Label | None = None


class InferenceSummaryBody(Message):
    """What a box answered in ``window_s``.

    ``confidence_counts`` counts the largest probability of each of the box's own answers in ten
    equal bins over [0, 1]. ``drift`` is how unlike the training images the images were, by the
    statistic that ``DataQualityBody`` defines.
    """

    kind: Literal["inference_summary"] = "inference_summary"
    window_start: Utc
    window_s: Annotated[int, Field(ge=1, le=86_400)]
    counts: dict[Label, Count]
    cloud_count: Count
    latency_ms_p50: Annotated[float, Field(ge=0.0, le=1e9)] | None = None
    latency_ms_p99: Annotated[float, Field(ge=0.0, le=1e9)] | None = None
    cloud_reasons: dict[Label, Count] = Field(default_factory=dict)
    confidence_counts: Annotated[tuple[Count, ...], Field(max_length=10)] = ()
    audited_count: Count = 0
    drift: Annotated[float, Field(ge=0.0, le=1e9)] | None = None


class DataQualityBody(Message):
    """What a look at the images of a box found, in counts; never an image, never a file's name.

    ``findings`` counts images by what is wrong with them (``unreadable``, ``tiny``, ``duplicate``,
    ``near_duplicate``, ``contradiction``, ``across_split``, ``suspicious_label``). ``shift`` is the
    population stability index (PSI) of the worst image statistic against the release's reference:
    under 0.1 alike, over 0.25 not.
    """

    kind: Literal["data_quality"] = "data_quality"
    class_counts: dict[Label, Count]
    findings: dict[Label, Count]
    shift: Annotated[float, Field(ge=0.0, le=1e9)] | None = None
    shifted_statistic: Label | None = None
    enough: bool
    advice: Text


class CalibrationBody(Message):
    """The threshold below which a box distrusts its own answer, and what it rests on.

    ``promise`` names the rule (``max_risk`` or ``max_offload``) and ``promised`` its value;
    ``threshold`` is None where no threshold keeps it with so few labels: everything is then sent.
    ``kept_share`` of the ``n`` calibration images lay above the threshold; after drift, of the
    images of the hour that was looked at.
    """

    kind: Literal["calibration"] = "calibration"
    model_sha256: Sha256
    promise: Literal["max_risk", "max_offload"]
    promised: Fraction
    confidence: Fraction | None
    threshold: Fraction | None
    n: Count
    kept_share: Fraction


class EventBody(Message):
    kind: Literal["event"] = "event"
    name: Label
    fields: dict[Label, Text] = Field(default_factory=dict)


ReportBody = Annotated[
    ProfileBody
    | OutcomeBody
    | InferenceSummaryBody
    | DataQualityBody
    | CalibrationBody
    | EventBody,
    Field(discriminator="kind"),
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
