"""What ``device_agent status`` says, read from the state directory while an agent may run."""

from typing import Any

from device_agent.outbox import Outbox
from device_agent.paths import StatePaths
from device_agent.shelf import Manifest, Shelf
from device_agent.state import BoxState, StateStore


def read_status(paths: StatePaths) -> dict[str, Any]:
    """Return the facts, ready for JSON; raises StateError for a corrupt state."""
    store = StateStore(paths)
    state, identity = store.load(), store.identity()
    return {
        "step": state.step,
        "device_id": identity.device_id if identity else None,
        "server": identity.server if identity else None,
        **_orders(state),
        "active_model": _model(Shelf(paths).active()),
        "outcome": _outcome(state),
        "outbox": _outbox(paths),
        "cap_kinds": list(state.cap_kinds or (state.profile.cap_kinds if state.profile else ())),
        "cap_bytes": state.cap_bytes,
        "state_dir": str(paths.root),
    }


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


def _outcome(state: BoxState) -> dict[str, Any] | None:
    outcome = state.outcome
    return None if outcome is None else {"status": outcome.status, "reason": outcome.reason}


def _outbox(paths: StatePaths) -> dict[str, int]:
    if not paths.outbox.exists():
        return {"reports": 0, "bytes": 0}
    with Outbox(paths.outbox) as outbox:
        return {"reports": len(outbox), "bytes": outbox.size_bytes()}
