"""The agent's part of a calibrated fallback: it looks for drift, and tells the server what holds.

Called from the agent's loop alone, at every round and while training runs. Doing it again changes
nothing; what was told is remembered, so that a restart tells nothing twice.
"""

import structlog

from contract.desired import DesiredState
from contract.rules import BoxRules
from device_agent.cloud.calibration_store import (
    Watch,
    held_back,
    read_watch,
    sureness,
    work_out,
    write_watch,
)
from device_agent.cloud.confidence_drift import drift_between, drift_of, edges_of
from device_agent.cloud.promise import promise_in_force
from device_agent.cloud.summary import InferenceWindow
from device_agent.disk.shelf import Manifest
from device_agent.loop.box import Box
from device_agent.stability import ALIKE, UNLIKE

log = structlog.get_logger()


def watch_calibration(box: Box, desired: DesiredState | None, window: InferenceWindow) -> None:
    """Judge the live window where it is full, and report the threshold where it has changed.

    Raises DiskFullError and StateError; what was to be noted is noted at the next round.
    """
    active = box.shelf.active()
    if active is None:
        return
    before = watch = read_watch(box.paths)
    if before.model_sha256 != active.sha256:
        window.forget_live()
        watch = Watch(model_sha256=active.sha256, revision=before.revision + 1)
    watch = _with_drift(box, active, watch, window)
    rules = promise_in_force(desired)
    if rules is not None:
        watch = _told(box, active, watch, rules)
    if watch != before:
        write_watch(box.paths, watch)


def _with_drift(box: Box, active: Manifest, watch: Watch, window: InferenceWindow) -> Watch:
    live = window.take_live()
    if live is None:
        return watch
    held = sureness(held_back(box.paths, active))
    drift = drift_of(held, live)
    if drift is None:
        return watch
    window.note_drift(drift)
    if watch.live and drift <= ALIKE:
        log.info("images_alike_again", drift=round(drift, 3))
        return _changed(watch, ())
    known = bool(watch.live) and drift_between(watch.live, live, edges_of(held)) <= UNLIKE
    if drift <= UNLIKE or known:
        return watch
    log.warning("images_drifted", drift=round(drift, 3), model_id=active.model_id)
    text = (
        f"over the last {len(live)} answers the model was sure of itself unlike on its held-back "
        f"images (population stability index {drift:.2f}, over {UNLIKE:g}): the threshold was set "
        "anew by the live images"
    )
    box.event(f"drift/{active.sha256}/{watch.revision}", "drift", text)
    return _changed(watch, tuple(live))


def _changed(watch: Watch, live: tuple[float, ...]) -> Watch:
    return watch.model_copy(update={"live": live, "revision": watch.revision + 1})


def _told(box: Box, active: Manifest, watch: Watch, rules: BoxRules) -> Watch:
    promise = f"{rules.max_risk}/{rules.max_offload}/{rules.risk_confidence}"
    name = f"{promise}/{watch.revision}"
    if watch.told == name:
        return watch
    calibration = work_out(held_back(box.paths, active), watch, rules)
    if calibration is None:
        return watch
    log.info(
        "calibrated", promise=promise, threshold=calibration.threshold, n=calibration.n,
        kept_share=round(calibration.kept_share, 3), drifted=bool(watch.live),
    )  # fmt: skip
    box.report(f"calibration/{active.sha256}/{name}", calibration.body(active.sha256))
    return watch.model_copy(update={"told": name})
