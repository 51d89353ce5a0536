"""Which promise a policy makes of doubtful answers, and in words what is sent under it."""

from contract.desired import DesiredState
from contract.rules import BoxRules
from device_agent.cloud.calibrate import Calibration
from device_agent.cloud.calibration_store import Calibrations
from device_agent.cloud.privacy import why_cloud
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest


def promise_in_force(desired: DesiredState | None) -> BoxRules | None:
    """Return the rules by which doubtful answers are sent; None where none may be."""
    if desired is None or why_cloud(desired, "unsure") != "low_confidence":
        return None
    promised = desired.rules.max_risk is not None or desired.rules.max_offload is not None
    return desired.rules if promised else None


def what_is_sent(paths: StatePaths, desired: DesiredState | None, active: Manifest | None) -> str:
    """Say which doubtful answers of the active model are asked of the cloud, and why."""
    if desired is None:
        return "nothing: the server has not been heard yet"
    if not desired.images_may_leave:
        return "nothing: the policy keeps images on the box, so every answer here stands"
    rules = promise_in_force(desired)
    if rules is None or active is None:
        return f"no doubtful answers: the policy's fallback is {desired.fallback}"
    needed = Calibrations(paths).threshold(active, rules)
    return f"{_which(needed)}: {_promise(rules)}"


def _which(needed: Calibration | None) -> str:
    if needed is None or needed.threshold == 0:
        return "no doubtful answers"
    if needed.threshold is None:
        return f"everything, since {needed.n} held-back images show no threshold to be safe"
    return f"answers less sure than {needed.threshold:.4f}"


def _promise(rules: BoxRules) -> str:
    if rules.max_risk is not None:
        return f"at most {rules.max_risk:.1%} of the answers kept are wrong"
    return f"at most {rules.max_offload or 0:.1%} of the images are sent"
