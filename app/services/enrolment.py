"""How a box comes to belong to the fleet, and how an operator revokes it."""

import json
from datetime import datetime

from app.database import Transaction
from app.errors import EnrolmentUsedUpError, NotFoundError, SerialTakenError
from app.repositories import credentials, devices, reports
from app.services import tokens
from app.services.ids import new_id
from app.tables import DeviceRow
from contract.device import Registered, Registration


def register(
    tx: Transaction, enrolment_sha256: str, registration: Registration, now: datetime
) -> Registered:
    """Register a box, or again the same box under the same enrolment token.

    A repeated registration takes no further use, revokes the box's former token and returns a
    fresh one: the answer to the first may have been lost.
    """
    known = devices.find_by_serial(tx, registration.serial)
    if known is None:
        device_id = _admit(tx, enrolment_sha256, registration, now)
    elif known.enrolled_by == enrolment_sha256:
        device_id = _readmit(tx, known, registration, now)
    elif known.enrolled_by is None and credentials.take_use(tx, enrolment_sha256):
        device_id = _readmit(tx, known, registration, now, enrolled_by=enrolment_sha256)
    elif known.enrolled_by is None:
        raise EnrolmentUsedUpError
    else:
        raise SerialTakenError(registration.serial)
    token = tokens.issue(tx, "device", now=now, device_id=device_id)
    return Registered(device_id=device_id, token=token)


def _admit(
    tx: Transaction, enrolment_sha256: str, registration: Registration, now: datetime
) -> str:
    if not credentials.take_use(tx, enrolment_sha256):
        raise EnrolmentUsedUpError
    device_id = new_id("box", now)
    added = devices.add(
        tx,
        {
            "id": device_id,
            "serial": registration.serial,
            "enrolled_by": enrolment_sha256,
            "labels": json.dumps(registration.labels, sort_keys=True),
            "profile": registration.profile.model_dump_json(),
            "created_at": now,
        },
    )
    if added:
        return device_id
    return _meanwhile_admitted(tx, enrolment_sha256, registration, now)


def _meanwhile_admitted(
    tx: Transaction, enrolment_sha256: str, registration: Registration, now: datetime
) -> str:
    """Settle two first registrations of one serial at the same time: one use, one box."""
    credentials.give_back_use(tx, enrolment_sha256)
    known = devices.find_by_serial(tx, registration.serial)
    if known is None or known.enrolled_by != enrolment_sha256:
        raise SerialTakenError(registration.serial)
    return _readmit(tx, known, registration, now)


def _readmit(
    tx: Transaction,
    known: DeviceRow,
    registration: Registration,
    now: datetime,
    *,
    enrolled_by: str | None = None,
) -> str:
    values = {
        "enrolled_by": enrolled_by or known.enrolled_by,
        "labels": json.dumps(registration.labels, sort_keys=True),
        "profile": registration.profile.model_dump_json(),
    }
    credentials.revoke_of_device(tx, known.id, now)
    devices.renew(tx, known.id, values)
    reports.forget_sequences(tx, known.id)
    return known.id


def revoke(tx: Transaction, device_id: str, now: datetime) -> None:
    """Refuse a box from its next call on, and free its serial for another enrolment."""
    if devices.find(tx, device_id) is None:
        raise NotFoundError("device", device_id)
    credentials.revoke_of_device(tx, device_id, now)
    devices.disown(tx, device_id)
