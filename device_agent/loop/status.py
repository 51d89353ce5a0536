"""What ``device_agent status`` says, read from the state directory while an agent may run."""

from datetime import UTC, datetime
from typing import Any

from device_agent.cloud.audit import count_samples
from device_agent.cloud.promise import what_is_sent
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.loop.state import BoxState, StateStore
from device_agent.server.outbox import Outbox


def read_status(paths: StatePaths) -> dict[str, Any]:
    """Return the facts, ready for JSON; raises StateError for a corrupt state."""
    store = StateStore(paths)
    state, identity = store.load(), store.identity()
    return {
        "step": state.step,
        "device_id": identity.device_id if identity else None,
        "server": identity.server if identity else None,
        "last_answer_at": _heard_at(paths),
        **_orders(state),
        "active_model": _model(Shelf(paths).active()),
        **_shelf(Shelf(paths)),
        "outcome": _outcome(state),
        "trains_again_because": state.retraining,
        "training_waits_because": state.put_off,
        "outbox": _outbox(paths),
        "sent_to_the_cloud": what_is_sent(paths, state.desired, Shelf(paths).active()),
        "audit": count_samples(paths.audit),
        "cap_kinds": list(state.cap_kinds or (state.profile.cap_kinds if state.profile else ())),
        "cap_bytes": state.cap_bytes,
        "state_dir": str(paths.root),
    }


def _heard_at(paths: StatePaths) -> str | None:
    """Return when a poll was last answered."""
    try:
        moment = datetime.fromtimestamp(paths.heard.stat().st_mtime, UTC)
    except OSError:
        return None
    return moment.isoformat(timespec="seconds")


def _orders(state: BoxState) -> dict[str, Any]:
    desired = state.desired
    if desired is None:
        return {"action": None, "generation": None, "why": None, "next_better": None}
    assignment = desired.assignment
    return {
        "action": desired.action,
        "generation": desired.generation,
        "why": desired.why,
        "next_better": desired.next_better,
        "assigned": assignment.point.key if assignment else None,
    }


def _model(active: Manifest | None) -> dict[str, Any] | None:
    if active is None:
        return None
    fields = ("model_id", "variant", "release_number", "point_key", "balanced_accuracy", "sha256")
    return {field: getattr(active, field) for field in fields}


def _shelf(shelf: Shelf) -> dict[str, Any]:
    return {
        "serving": next(iter(shelf.candidates()), None),
        "previous_model": shelf.previous_id(),
        "factory_model": shelf.factory_id(),
        "rolled_back_from": shelf.rolled_back_id(),
    }


def _outcome(state: BoxState) -> dict[str, Any] | None:
    outcome = state.outcome
    return None if outcome is None else {"status": outcome.status, "reason": outcome.reason}


def _outbox(paths: StatePaths) -> dict[str, int]:
    if not paths.outbox.exists():
        return {"reports": 0, "bytes": 0}
    with Outbox(paths.outbox) as outbox:
        return {"reports": len(outbox), "bytes": outbox.size_bytes()}
