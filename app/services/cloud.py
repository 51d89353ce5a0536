"""Cloud inference: whether a caller's images may come here, and which variant answers."""

import json

from app.database import Transaction
from app.domain.policy_match import policy_for
from app.errors import ImagesMayNotLeaveError, NoReleaseError, NotFoundError
from app.repositories import devices, policies, releases
from app.services.tokens import Caller
from contract.release import Release, Variant


def variant_for(tx: Transaction, caller: Caller, name: str | None) -> tuple[int, Variant]:
    """Return the release's number and the variant that answers.

    Raises ImagesMayNotLeaveError when the calling box's policy keeps its images, NoReleaseError,
    NotFoundError.
    """
    if caller.device_id is not None:
        _check_images_may_leave(tx, caller.device_id)
    release = releases.current(tx)
    if release is None or not release.variants:
        raise NoReleaseError
    return release.number, _named(release, name) if name else best_variant(release)


def _check_images_may_leave(tx: Transaction, device_id: str) -> None:
    device = devices.find(tx, device_id)
    if device is None:
        raise NotFoundError("device", device_id)
    policy = policy_for(json.loads(device.labels), policies.in_force(tx))
    if policy is None or not policy.body.images_may_leave:
        raise ImagesMayNotLeaveError(policy.name if policy else "(none)")


def _named(release: Release, name: str) -> Variant:
    for variant in release.variants:
        if variant.name == name:
            return variant
    raise NotFoundError("variant", name)


def best_variant(release: Release) -> Variant:
    """Return the variant with the best lower bound of accuracy, ties by name."""
    bounds = {variant.name: 0.0 for variant in release.variants}
    for point in release.points:
        bounds[point.variant] = max(bounds.get(point.variant, 0.0), point.accuracy_lower or 0.0)
    return min(release.variants, key=lambda v: (-bounds[v.name], v.name))
