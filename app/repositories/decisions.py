"""Decisions, append-only, each with the inputs it came from."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import defer
from sqlmodel import col, select

from app.database import CoreTransaction, Transaction
from app.tables import DecisionRow, decisions
from contract.decision import Decision

_WITHOUT_DOCUMENTS = [
    defer(column)  # type: ignore[arg-type] # a column, to the mapper
    for column in (DecisionRow.document, DecisionRow.inputs)
]


def add(
    tx: CoreTransaction, decision: Decision, *, decision_id: str, device_id: str, inputs: str
) -> None:
    tx.execute(
        sa.insert(decisions).values(
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


def find(tx: Transaction, decision_id: str) -> DecisionRow | None:
    return tx.get(DecisionRow, decision_id)


def page(
    tx: Transaction, device_id: str, *, before: str | None, limit: int
) -> Sequence[DecisionRow]:
    """Return a box's decisions without their documents, the newest first."""
    statement = (
        select(DecisionRow)
        .where(DecisionRow.device_id == device_id)
        .order_by(col(DecisionRow.id).desc())
        .limit(limit)
        .options(*_WITHOUT_DOCUMENTS)
    )
    if before is not None:
        statement = statement.where(DecisionRow.id < before)
    return tx.exec(statement).all()
