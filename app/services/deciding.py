"""What a box should be, worked out anew only when something that it depends on changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.database import CoreTransaction, Transaction
from app.domain.desired import (
    State,
    desired_state,
    etag_of,
    is_same,
    state_of,
    state_without_decision,
)
from app.domain.observations import observation
from app.domain.policy_match import policy_for
from app.domain.selection import Current, PolicyInForce, select
from app.errors import NotFoundError
from app.repositories import decisions, devices, policies, releases, reports
from app.repositories.devices import Decided
from app.services.ids import new_id
from contract.decision import Decision, Observation
from contract.desired import DesiredState
from contract.device import DeviceProfile
from contract.release import Release


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What all decisions of one batch share. ``revision`` was read first, so it is never newer."""

    revision: int
    release: Release | None
    policies: Sequence[PolicyInForce]


@dataclass(frozen=True, slots=True)
class Decide:
    """A unit of work for the writer: decide for this box, if that is due."""

    device_id: str
    now: datetime


def decide_all(tx: CoreTransaction, units: Sequence[Decide]) -> list[str | Exception]:
    """Return the entity tag that now stands for each box."""
    fleet = Fleet(
        revision=devices.fleet_revision(tx),
        release=releases.current(tx),
        policies=policies.in_force(tx),
    )
    found = devices.decided(tx, {unit.device_id for unit in units})
    tags: dict[str, str] = {}
    for unit in units:
        if unit.device_id in found and unit.device_id not in tags:
            tags[unit.device_id] = _decide(tx, found[unit.device_id], fleet, unit.now)
    return [tags.get(unit.device_id) or NotFoundError("device", unit.device_id) for unit in units]


def _decide(tx: CoreTransaction, device: Decided, fleet: Fleet, now: datetime) -> str:
    if (device.decided_inputs, device.decided_fleet) == (device.inputs_revision, fleet.revision):
        return device.etag
    return _decide_anew(tx, device, fleet, now) or _decided_meanwhile(tx, device.id)


def _decide_anew(tx: CoreTransaction, device: Decided, fleet: Fleet, now: datetime) -> str | None:
    """Decide and store it, the decision beside it; None, and nothing stored, if another won."""
    old = None if device.state is None else State.model_validate_json(device.state)
    policy = policy_for(json.loads(device.labels), fleet.policies)
    if policy is None or fleet.release is None:
        return _settle(tx, device, fleet, old, state_without_decision(policy, fleet.release))
    seen = reports.seen_of(tx, device.id, fleet.release.number)
    observations = {key: observation(key, s) for key, s in seen.items()}
    decision = _select(device, policy, fleet.release, observations, _current(old), now)
    decision_id = new_id("decision", now)
    tag = _settle(tx, device, fleet, old, state_of(decision, decision_id, policy))
    if tag is None:
        return None
    inputs = _inputs(device, observations, _current(old), fleet.revision)
    decisions.add(tx, decision, decision_id=decision_id, device_id=device.id, inputs=inputs)
    return tag


def _select(
    device: Decided,
    policy: PolicyInForce,
    release: Release,
    observations: Mapping[str, Observation],
    current: Current | None,
    now: datetime,
) -> Decision:
    return select(
        profile=DeviceProfile.model_validate_json(device.profile),
        policy=policy,
        release=release,
        observations=observations,
        current=current,
        now=now,
    )


def _current(old: State | None) -> Current | None:
    if old is None or old.point_key is None:
        return None
    return Current(release_number=old.release_number, point_key=old.point_key)


def _settle(
    tx: CoreTransaction, device: Decided, fleet: Fleet, old: State | None, new: State
) -> str | None:
    """Store what now stands; None when another process has decided meanwhile.

    What the box already acts on keeps its generation and tag.
    """
    if old is not None and is_same(old, new):
        state, generation, etag = old, device.generation, device.etag
    else:
        state, generation = new, device.generation + 1
        etag = etag_of(device.id, generation, state)
    won = devices.decide(
        tx,
        device,
        fleet_revision=fleet.revision,
        generation=generation,
        etag=etag,
        state=state.model_dump_json(),
    )
    return etag if won else None


def _decided_meanwhile(tx: CoreTransaction, device_id: str) -> str:
    found = devices.decided(tx, [device_id])
    if device_id not in found:
        raise NotFoundError("device", device_id)
    return found[device_id].etag


def _inputs(
    device: Decided,
    observations: Mapping[str, Observation],
    current: Current | None,
    fleet_revision: int,
) -> str:
    seen = {key: o.model_dump(mode="json") for key, o in observations.items()}
    return json.dumps(
        {
            "labels": json.loads(device.labels),
            "profile": json.loads(device.profile),
            "observations": seen,
            "current": None if current is None else vars(current),
            "inputs_revision": device.inputs_revision,
            "fleet_revision": fleet_revision,
        }
    )


def desired(tx: Transaction, device_id: str) -> tuple[str, DesiredState]:
    """Return a box's entity tag and what it should be, as last decided."""
    device = devices.find(tx, device_id)
    if device is None or device.state is None:
        raise NotFoundError("device", device_id)
    state = State.model_validate_json(device.state)
    release = releases.find(tx, state.release_number) if state.point_key else None
    return device.etag, desired_state(state, device.generation, release)
