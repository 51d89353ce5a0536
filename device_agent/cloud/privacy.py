"""The hard rule: an image leaves the box only where the policy says that images may leave. Pure."""

from typing import Literal

from contract.desired import DesiredState
from contract.inference import WhyCloud

Here = Literal["unasked", "sure", "unsure", "failed"]
"""What the models of this box say: not asked yet, an answer to keep, a doubtful one, or none."""


def why_cloud(desired: DesiredState | None, here: Here) -> WhyCloud | None:
    """Return why this image may go to the cloud, or None where it may not.

    Never without ``images_may_leave``, nor under the fallback ``never``. Each other fallback
    includes the ones before it: ``nothing_fits`` sends when the server says ``cloud``,
    ``on_failure`` also when no model here answers, ``low_confidence`` also a doubtful answer.
    """
    if desired is None or desired.images_may_leave is not True or desired.fallback == "never":
        return None
    if desired.action == "cloud":
        return "nothing_fits"
    if here == "failed" and desired.fallback in {"on_failure", "low_confidence"}:
        return "on_failure"
    if here == "unsure" and desired.fallback == "low_confidence":
        return "low_confidence"
    return None


def why_not(desired: DesiredState | None) -> str:
    """Say in a few words why the cloud was not asked."""
    if desired is None:
        return "the server has not been heard yet: run `device_agent run` first"
    if not desired.images_may_leave:
        return "the policy keeps images on the box"
    return f"the policy's fallback is {desired.fallback} and the server says {desired.action}"
