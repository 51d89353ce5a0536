"""What the box remembers, and the table of how it moves on. Pure, apart from ``StateStore``.

A step is done again after a crash, never half-believed: every step's effect is idempotent and the
new step is written only after the effect is on disk. Nothing in the table asks for the time.
"""

from typing import Literal, TypeVar, get_args

from pydantic import ValidationError

from contract.base import Count, Label, Message, Text, Utc
from contract.desired import Assignment, DesiredState
from contract.device import DeviceProfile
from contract.finetune import FinetuneResult
from contract.report import OutcomeBody
from device_agent.disk.files import write_atomic
from device_agent.disk.paths import StatePaths
from device_agent.errors import StateError

_Kind = TypeVar("_Kind", bound=Message)
Step = Literal[
    "new",
    "enrolled",
    "profiled",
    "assigned",
    "fetched",
    "verified",
    "trained",
    "evaluated",
    "active",
    "rejected",
    "rolled_back",
    "cloud",
    "idle",
]
Event = Literal[
    "registered",
    "profiled",
    "told_train",
    "told_cloud",
    "told_idle",
    "fetched",
    "found_damaged",
    "verified",
    "trained",
    "evaluated",
    "activated",
    "rejected",
    "kept_active",
    "rolled_back",
]

_TOLD: dict[Event, Step] = {
    "told_train": "assigned",
    "told_cloud": "cloud",
    "told_idle": "idle",
    "kept_active": "active",
    "rolled_back": "rolled_back",
}
_BEFORE_LISTENING: tuple[Step, ...] = ("new", "enrolled")
TABLE: dict[Step, dict[Event, Step]] = {
    "new": {"registered": "enrolled"},
    "enrolled": {"profiled": "profiled"},
    **{step: dict(_TOLD) for step in get_args(Step) if step not in _BEFORE_LISTENING},
}
TABLE["assigned"] |= {"fetched": "fetched", "rejected": "rejected"}
TABLE["fetched"] |= {"verified": "verified", "found_damaged": "assigned", "rejected": "rejected"}
TABLE["verified"] |= {"trained": "trained", "rejected": "rejected"}
TABLE["trained"] |= {"evaluated": "evaluated", "rejected": "rejected"}
TABLE["evaluated"] |= {"activated": "active", "rejected": "rejected"}

WORKING: tuple[Step, ...] = ("assigned", "fetched", "verified", "trained", "evaluated")
SETTLED: tuple[Step, ...] = ("active", "rolled_back", "cloud", "idle")


class IllegalTransitionError(StateError):
    def __init__(self, step: str, event: str) -> None:
        super().__init__(f"a box that is {step} cannot take the event {event}")


class Identity(Message):
    """Who the box is to which server; its file is readable by the agent's user alone.

    ``enrol_token_sha256`` tells the enrolment token that was used from a new one.
    """

    device_id: Label
    token: Label
    server: str
    enrol_token_sha256: Label | None = None


class Rollback(Message):
    """Why the box stays on an older model: ``left`` was set aside for ``model_id``.

    ``was_working`` says that a task was under way, which undoing takes up again where it stood.
    """

    request_id: Label
    left: Label | None
    model_id: Label
    reason: Text
    was_working: bool = False


class BoxState(Message):
    """Everything but identity, reports and files. ``task_id`` names one try at one assignment.

    ``starts`` counts starts of the trainer for the task, ``attempts`` those that it failed.
    ``floor_bytes`` is the largest floor that a trainer has shown on this box. ``micro_batch`` is
    what the task trains with where the plan's own broke the cap. ``retraining`` says why the box
    trains again by itself, ``put_off`` why it waits; ``trained_at`` is when the last training
    began, ``trained_images`` how many labelled images there were then.
    """

    schema_version: Literal[1] = 1
    step: Step = "new"
    etag: str | None = None
    desired: DesiredState | None = None
    task_id: Label | None = None
    starts: int = 0
    attempts: int = 0
    result: FinetuneResult | None = None
    data_key: str | None = None
    outcome: OutcomeBody | None = None
    rollback: Rollback | None = None
    profile: DeviceProfile | None = None
    profiled_at: Utc | None = None
    cap_kinds: tuple[Label, ...] = ()
    cap_bytes: int | None = None
    floor_bytes: int | None = None
    micro_batch: int | None = None
    retraining: Text | None = None
    put_off: Text | None = None
    trained_at: Utc | None = None
    trained_images: Count | None = None
    drifted: bool = False


def advance(state: BoxState, event: Event, **changes: object) -> BoxState:
    """Return the state after ``event``; raises IllegalTransitionError."""
    try:
        step = TABLE[state.step][event]
    except KeyError:
        raise IllegalTransitionError(state.step, event) from None
    return state.model_copy(update={"step": step, **changes})


def assignment_of(state: BoxState) -> Assignment:
    """Return what the box works on; raises StateError where the state holds none."""
    if state.desired is None or state.desired.assignment is None:
        message = f"the state says {state.step} but holds no assignment; it will be asked for again"
        raise StateError(message)
    return state.desired.assignment


class StateStore:
    """Reads and writes ``state.json`` and ``identity.json``, each atomically."""

    def __init__(self, paths: StatePaths) -> None:
        self.paths = paths

    def load(self) -> BoxState:
        """Return the state; a new one where there is none; StateError for a corrupt one."""
        if not self.paths.state.exists():
            return BoxState()
        return _parse(BoxState, self.paths.state.read_bytes(), str(self.paths.state))

    def save(self, state: BoxState) -> None:
        write_atomic(self.paths.state, state.model_dump_json(indent=1).encode())

    def identity(self) -> Identity | None:
        """Return who the box is, or None before it has registered."""
        if not self.paths.identity.exists():
            return None
        return _parse(Identity, self.paths.identity.read_bytes(), str(self.paths.identity))

    def save_identity(self, identity: Identity) -> None:
        write_atomic(self.paths.identity, identity.model_dump_json().encode(), mode=0o600)


def _parse(kind: type[_Kind], data: bytes, where: str) -> _Kind:
    try:
        return kind.model_validate_json(data)
    except ValidationError as exc:
        message = (
            f"{where} is corrupt; move it away and start the agent again "
            "(models and reports are kept, the box asks the server anew)"
        )
        raise StateError(message) from exc
