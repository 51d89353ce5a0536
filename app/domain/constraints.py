"""The hard constraints: for one point on one box, what fails and by how much."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.units import megabytes, milliseconds, percent
from contract.decision import Failure, Observation
from contract.device import Budget, DeviceProfile
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.release import Release, Variant

CPU_PROVIDER = "CPUExecutionProvider"
SMALL_FILES_BYTES = 16_000_000
"""What the agent leaves free beside its downloads; logs, results and file headers fit into it."""

_FLOAT_BYTES = 4
_OPTIMISER_VECTORS = {"sgd": 1, "adam": 2}


@dataclass(frozen=True, kw_only=True)
class Box:
    """Everything about one box that its points are held against."""

    profile: DeviceProfile
    policy: PolicyBody
    budget: Budget
    release: Release


def predicted_peak_bytes(
    point: FrontierPoint, profile: DeviceProfile, observation: Observation | None
) -> int | None:
    """Return the box's own observed peak, else its floor plus the lab's workload."""
    if observation is not None and observation.peak_bytes is not None:
        return observation.peak_bytes
    if profile.runtime_floor_bytes is None or point.peak_workload_bytes is None:
        return None
    return profile.runtime_floor_bytes + point.peak_workload_bytes


def disk_need_bytes(point: FrontierPoint, release: Release, n_images: int) -> int | None:
    """Return the most that a box stores at one time for a point; None without its files.

    ``need = downloads + 2 * run + temporary + pixels + kept + small``, where P is the parameters
    that train, S the optimiser's vectors (1 SGD, 2 Adam) and M the inference graph:

    - ``downloads``: weights, inference graph and training graph
    - ``run = (1 + S) * P + P + M``: checkpoint, best parameters, model; the dry run's three stay
      beside the training's until the task ends
    - ``temporary = max((1 + S) * P, M)``: files are replaced one at a time, each by a whole twin
    - ``pixels = n_images * px * px * channels``: the decoded images (a test folder's, which the
      profile does not count, come on top)
    - ``kept = M``: the copy that the box serves; ``small``: see SMALL_FILES_BYTES
    """
    try:
        variant = release.variant(point.variant)
        files = variant.artifacts_for(point.plan.scope.cut)
    except KeyError:
        return None
    trained = _trained_bytes(point, variant)
    checkpoint = (1 + _OPTIMISER_VECTORS[point.plan.optimiser]) * trained
    model = variant.inference.length_bytes
    downloads = sum(artifact.length_bytes for artifact in files)
    run = checkpoint + trained + model
    pixels = n_images * point.plan.input_px**2 * variant.spec.in_channels
    return downloads + 2 * run + max(checkpoint, model) + pixels + model + SMALL_FILES_BYTES


def _trained_bytes(point: FrontierPoint, variant: Variant) -> int:
    """Return a bound of the parameters that train: all there are, or less by the measured peak.

    The program holds them, their gradients and the optimiser's vectors in memory at once.
    """
    everything = _FLOAT_BYTES * variant.parameters
    if point.peak_workload_bytes is None:
        return everything
    held = 2 + _OPTIMISER_VECTORS[point.plan.optimiser]
    return min(everything, point.peak_workload_bytes // held)


def _box_need_bytes(point: FrontierPoint, box: Box) -> int | None:
    return disk_need_bytes(point, box.release, box.profile.n_ok + box.profile.n_defect)


def failures(
    point: FrontierPoint, box: Box, observation: Observation | None, *, is_current: bool = False
) -> tuple[Failure, ...]:
    """Return every constraint that the point fails on this box; empty when it fits.

    Of the point that the box is on (``is_current``) the disk is not asked again: what it stored for
    it is no longer free, and the box itself looks before it stores more.
    """
    peak_bytes = predicted_peak_bytes(point, box.profile, observation)
    return (
        *_missing(point, box, peak_bytes),
        *_history(observation),
        *_memory(peak_bytes, box.budget),
        *_accuracy(point, box.policy, observation),
        *_latency(point, box.policy),
        *_artifact_size(point, box.policy),
        *(() if is_current else _disk(point, box)),
        *_runtime(box.profile),
    )


def _missing(point: FrontierPoint, box: Box, peak_bytes: int | None) -> Iterator[Failure]:
    names = ("accuracy_lower", "train_seconds", "latency_ms", "artifact_bytes")
    absent = [name for name in names if getattr(point, name) is None]
    if peak_bytes is None:
        absent.append(_absent_peak(point, box))
    if _box_need_bytes(point, box) is None:
        absent.append("files of this variant and cut")
    for name in absent:
        yield Failure(
            constraint="missing_measurement",
            needed=None,
            allowed=None,
            unit="measurement",
            text=f"not measured: {name}",
        )


def _absent_peak(point: FrontierPoint, box: Box) -> str:
    if point.peak_workload_bytes is None:
        return "peak_workload_bytes"
    _ = box
    return "runtime_floor_bytes of this box"


def _history(observation: Observation | None) -> Iterator[Failure]:
    if observation is not None and observation.failed_permanently:
        yield Failure(
            constraint="failed_on_this_device",
            needed=None,
            allowed=None,
            unit="attempts",
            text="failed on this box before and will not be tried again",
        )


def _memory(peak_bytes: int | None, budget: Budget) -> Iterator[Failure]:
    if peak_bytes is None or peak_bytes <= budget.total_bytes:
        return
    short = peak_bytes - budget.total_bytes
    text = (
        f"needs {megabytes(peak_bytes)}, budget {megabytes(budget.total_bytes)}: "
        f"{megabytes(short)} short"
    )
    yield _failure("memory", peak_bytes, budget.total_bytes, "bytes", text)


def _accuracy(
    point: FrontierPoint, policy: PolicyBody, observation: Observation | None
) -> Iterator[Failure]:
    floor = policy.accuracy_floor
    seen = None if observation is None else observation.balanced_accuracy
    for what, value in (("lower bound", point.accuracy_lower), ("reached on this box", seen)):
        if value is not None and value < floor:
            text = (
                f"accuracy {what} {percent(value)}, floor {percent(floor)}: "
                f"{percent(floor - value)} short"
            )
            yield _failure("accuracy_floor", floor, value, "balanced accuracy", text)


def _latency(point: FrontierPoint, policy: PolicyBody) -> Iterator[Failure]:
    limit, value = policy.max_latency_ms, point.latency_ms
    if limit is None or value is None or value <= limit:
        return
    text = (
        f"takes {milliseconds(value)} an image, ceiling {milliseconds(limit)}: "
        f"{milliseconds(value - limit)} over"
    )
    yield _failure("latency", value, limit, "ms", text)


def _artifact_size(point: FrontierPoint, policy: PolicyBody) -> Iterator[Failure]:
    limit, value = policy.max_artifact_bytes, point.artifact_bytes
    if limit is None or value is None or value <= limit:
        return
    text = (
        f"artifact of {megabytes(value)}, ceiling {megabytes(limit)}: "
        f"{megabytes(value - limit)} over"
    )
    yield _failure("artifact_size", value, limit, "bytes", text)


def _disk(point: FrontierPoint, box: Box) -> Iterator[Failure]:
    need, free = _box_need_bytes(point, box), box.profile.disk_free_bytes
    if need is None or need <= free:
        return
    text = (
        f"needs {megabytes(need)} of disk, {megabytes(free)} free: {megabytes(need - free)} short"
    )
    yield _failure("disk", need, free, "bytes", text)


def _runtime(profile: DeviceProfile) -> Iterator[Failure]:
    if profile.providers and CPU_PROVIDER not in profile.providers:
        yield Failure(
            constraint="runtime",
            needed=None,
            allowed=None,
            unit="provider",
            text=f"the box's ONNX Runtime lacks {CPU_PROVIDER}",
        )


def _failure(constraint: str, needed: float, allowed: float, unit: str, text: str) -> Failure:
    return Failure.model_validate(
        {
            "constraint": constraint,
            "needed": needed,
            "allowed": allowed,
            "unit": unit,
            "text": text,
        }
    )
