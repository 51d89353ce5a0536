"""A number and the conditions under which it was seen."""

import hashlib
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from contract.base import (
    LABEL_LENGTH,
    ByteCount,
    Count,
    Fraction,
    Label,
    Message,
    Milliseconds,
    Name,
    Seconds,
)
from contract.plan import Plan

_DIGEST_LENGTH = 8
_READABLE_LENGTH = LABEL_LENGTH - _DIGEST_LENGTH - 1


class Conditions(Message):
    """Where and how a point was measured: enough for a stranger to repeat it.

    ``boards`` names the data, one run each; it is empty where that is not on record.
    """

    method: Label
    host: Label
    cpu: Label
    versions: dict[Label, Label]
    threads: Annotated[int, Field(ge=1, le=1024)]
    seeds: tuple[Count, ...]
    n_train: Count
    n_test: Count
    repeats: Count
    boards: tuple[Label, ...] = ()
    measured_at: Label


class FrontierPoint(Message):
    """One (variant, plan, task), measured by the very program that runs on the box.

    ``accuracy_mean`` is balanced accuracy on images never trained on, ``accuracy_lower`` the lower
    bound of its 95 % interval. ``peak_workload_bytes`` is the child's peak RSS above
    ``floor_bytes``, which is its RSS after the imports; a box adds its own floor. Any of the
    optional numbers may be missing, and a point with a missing number is never eligible.
    """

    variant: Name
    plan: Plan
    task: Name
    accuracy_mean: Fraction | None
    accuracy_lower: Fraction | None
    accuracy_before: Fraction | None
    peak_workload_bytes: ByteCount | None
    floor_bytes: ByteCount | None
    train_seconds_per_image: Seconds | None
    train_seconds: Seconds | None
    latency_ms: Milliseconds | None
    inference_bytes: ByteCount | None
    artifact_bytes: ByteCount | None
    conditions: Conditions

    @property
    def key(self) -> str:
        """The point's name, unique in a release: ties between points are broken by it.

        It reads like the plan and ends in a digest of variant, whole plan and task, so that plans
        which differ in any field differ in it. At most 120 characters, as a Label holds; fields
        at their default do not enter the digest, so a field added later renames nothing.
        """
        return _key(self.variant, self.plan, self.task)


@lru_cache(maxsize=4096)
def _key(variant: str, plan: Plan, task: str) -> str:
    readable = (
        f"{variant}/{plan.scope.cut}/{plan.input_px}px"
        f"-b{plan.batch}-m{plan.micro_batch}-{plan.optimiser}-e{plan.epochs}/{task}"
    )
    whole = f"{variant}/{task}/{plan.model_dump_json(exclude_defaults=True)}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{readable[:_READABLE_LENGTH]}-{digest}"
