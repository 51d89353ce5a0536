"""Whether the box has images to train on, and why not.

Names are counted in the agent. The images themselves are looked at by a child, once for every set
of images (``device_agent.quality``): an idle agent loads neither numpy nor Pillow. Where that child
fails training goes on without it, for the trainer judges its images anyway.
"""

import hashlib

import structlog
from pydantic import ValidationError

from contract.base import Label, Message
from contract.desired import Assignment
from contract.device import DeviceProfile
from device_agent.disk.files import write_atomic
from device_agent.errors import DataUnusableError
from device_agent.loop.box import Box, data_key
from device_agent.machine.profile import count_images
from device_agent.quality.look_child import LookFailedError
from device_agent.quality.request import CheckRequest, CheckSummary, request_for
from device_agent.training.caps import child_budget

log = structlog.get_logger()


class KnownImages(Message):
    """What was found in the images that ``key`` names; kept so that they are looked at once."""

    key: Label
    summary: CheckSummary


def require_images(box: Box, profile: DeviceProfile, assignment: Assignment) -> None:
    """Raise DataUnusableError when the images cannot be trained on; report what they are like.

    Raises StoppedError when a signal came meanwhile.
    """
    trouble = data_trouble(box, profile)
    if trouble is not None:
        raise trouble
    empty = [n for n, count in (("ok", profile.n_ok), ("defect", profile.n_defect)) if count == 0]
    if box.settings.data is None or empty:
        where = box.settings.data or "--data"
        message = f"{where} holds no images of {' or '.join(empty) or 'any class'}; put some there"
        raise DataUnusableError(message)
    variant = assignment.variant
    request = request_for(box.settings.data, box.settings.test_data, variant, box.cache.path)
    cap_bytes = child_budget(profile, assignment.budget_bytes).cap_bytes
    summary = _looked_at(box, request, cap_bytes or None)
    if summary is not None and not summary.trainable:
        raise DataUnusableError(f"{box.settings.data} holds too few images. {summary.refusal}")


def data_trouble(box: Box, profile: DeviceProfile) -> DataUnusableError | None:
    """Return why no image was counted, where the folder of images cannot be used."""
    if profile.n_ok or profile.n_defect:
        return None
    try:
        count_images(box.settings.data)
    except DataUnusableError as exc:
        return exc
    return None


def _looked_at(box: Box, request: CheckRequest, cap_bytes: int | None) -> CheckSummary | None:
    """Return what is known of the images, looking at them where they changed; None on failure."""
    key = _key(request)
    known = _known(box)
    if known is not None and known.key == key:
        return known.summary
    log.info("looking_at_images", data=str(request.data))
    try:
        summary = box.look_at_data(request, cap_bytes, box.world.stop.is_set)
    except LookFailedError as exc:
        log.warning(exc.name, reason=str(exc))
        box.event(f"quality/{key}", exc.name, str(exc))
        return None
    log.info("images_looked_at", findings=summary.body.findings, advice=summary.body.advice)
    box.report(f"quality/{key}", summary.body)
    kept = KnownImages(key=key, summary=summary).model_dump_json(indent=1)
    write_atomic(box.paths.quality, kept.encode())
    return summary


def _key(request: CheckRequest) -> str:
    """Name the images, and what they are held against: a new release asks anew, a new plan not."""
    reference = request.reference.model_dump_json() if request.reference else ""
    named = f"{data_key(request.data, request.test_data)} {reference}"
    return hashlib.sha256(named.encode()).hexdigest()


def _known(box: Box) -> KnownImages | None:
    try:
        return KnownImages.model_validate_json(box.paths.quality.read_bytes())
    except (OSError, ValidationError):
        return None
