"""The hard rule: an image leaves the box only where the policy says that images may leave. Pure."""

from contract.desired import DesiredState


def may_ask_cloud(desired: DesiredState | None, *, local_failed: bool) -> bool:
    """Return whether this image may go to the cloud.

    Never without ``images_may_leave``. With it: always when the server says ``cloud``; and for a
    box that has no model, or whose model failed, under the fallback ``on_failure``.
    """
    if desired is None or not desired.images_may_leave:
        return False
    if desired.action == "cloud":
        return True
    return local_failed and desired.fallback == "on_failure"


def why_not(desired: DesiredState | None) -> str:
    """Say in a few words why the cloud was not asked."""
    if desired is None:
        return "the server has not been heard yet: run `device_agent run` first"
    if not desired.images_may_leave:
        return "the policy keeps images on the box"
    return f"the policy's fallback is {desired.fallback} and the server says {desired.action}"
