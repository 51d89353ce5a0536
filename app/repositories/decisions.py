"""Decisions, append-only, each with the inputs it came from."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from app.database import Transaction
from app.tables import decisions
from contract.decision import Decision


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    id: str
    device_id: str
    created_at: datetime
    action: str
    release_number: int
    policy_name: str
    policy_version: int
    point_key: str | None


_SUMMARY = [decisions.c[name] for name in DecisionRecord.__dataclass_fields__]


def add(
    tx: Transaction, decision: Decision, *, decision_id: str, device_id: str, inputs: str
) -> None:
    tx.execute(
        insert(decisions).values(
            id=decision_id,
            device_id=device_id,
            created_at=decision.decided_at,
            action=decision.action,
            release_number=decision.release_number,
            policy_name=decision.policy_name,
            policy_version=decision.policy_version,
            point_key=decision.chosen.key if decision.chosen else None,
            document=decision.model_dump_json(),
            inputs=inputs,
        )
    )


@dataclass(frozen=True, kw_only=True)
class DecisionInFull:
    record: DecisionRecord
    document: str
    inputs: str


def find(tx: Transaction, decision_id: str) -> DecisionInFull | None:
    statement = select(decisions).where(decisions.c.id == decision_id)
    row = tx.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    record = DecisionRecord(**{name: row[name] for name in DecisionRecord.__dataclass_fields__})
    return DecisionInFull(record=record, document=row["document"], inputs=row["inputs"])


def page(
    tx: Transaction, device_id: str, *, before: str | None, limit: int
) -> list[DecisionRecord]:
    """Return a box's decisions, the newest first."""
    statement = (
        select(*_SUMMARY)
        .where(decisions.c.device_id == device_id)
        .order_by(decisions.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(decisions.c.id < before)
    return [DecisionRecord(**row._mapping) for row in tx.execute(statement)]  # noqa: SLF001 - SQLAlchemy's public name
