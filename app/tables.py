"""The tables, as SQLModel classes. Rows, not wire types: no validation happens here.

Documents (profiles, policies, decisions, releases) are stored as the JSON text of their contract
type, so what was said is what is kept. Sizes are 64-bit. Times are aware UTC.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and turn the others into UTC."""
        _ = dialect
        if value is None:
            return None
        if value.tzinfo is None:
            message = "a time without a zone reached the database"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ANN401 - the base class says so
        """Give every time its zone."""
        _ = dialect
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


RowNumber = BigInteger().with_variant(Integer, "sqlite")


def _utc(*, nullable: bool = False) -> Column[datetime]:
    return Column(UtcDateTime(), nullable=nullable)


def _big(*, nullable: bool = False) -> Column[int]:
    return Column(BigInteger, nullable=nullable)


def _text(*, nullable: bool = False) -> Column[str]:
    return Column(Text, nullable=nullable)


class FleetRow(SQLModel, table=True):
    """One row: ``revision`` grows with every change that concerns every box."""

    __tablename__ = "fleet"
    __table_args__ = (CheckConstraint("id = 1", name="fleet_has_one_row"),)
    id: int = Field(primary_key=True)
    revision: int = Field(sa_column=_big())


class CredentialRow(SQLModel, table=True):
    """A bearer token, known only by its SHA-256."""

    __tablename__ = "credentials"
    sha256: str = Field(primary_key=True, max_length=64)
    kind: str = Field(max_length=16)
    device_id: str | None = Field(
        sa_column=Column(ForeignKey("devices.id"), nullable=True, index=True)
    )
    uses_left: int | None = Field(sa_column=_big(nullable=True))
    created_at: datetime = Field(sa_column=_utc())
    expires_at: datetime | None = Field(sa_column=_utc(nullable=True))
    revoked_at: datetime | None = Field(sa_column=_utc(nullable=True))


class DeviceRow(SQLModel, table=True):
    """A box: what it said of itself, and what it should be.

    ``inputs_revision`` grows with every change to its profile or observations; a decision stands
    while ``decided_inputs`` and ``decided_fleet`` name the present revisions.
    """

    __tablename__ = "devices"
    id: str = Field(primary_key=True, max_length=40)
    serial: str = Field(max_length=120, unique=True)
    enrolled_by: str | None = Field(max_length=64, default=None)
    labels: str = Field(sa_column=_text())
    profile: str = Field(sa_column=_text())
    profile_sequence: int = Field(sa_column=_big())
    created_at: datetime = Field(sa_column=_utc())
    last_seen_at: datetime | None = Field(sa_column=_utc(nullable=True))
    inputs_revision: int = Field(sa_column=_big())
    decided_inputs: int = Field(sa_column=_big())
    decided_fleet: int = Field(sa_column=_big())
    generation: int = Field(sa_column=_big())
    etag: str = Field(max_length=80)
    state: str | None = Field(sa_column=_text(nullable=True))


class ReleaseRow(SQLModel, table=True):
    __tablename__ = "releases"
    number: int = Field(primary_key=True, sa_type=Integer)
    title: str = Field(max_length=120)
    task: str = Field(max_length=80)
    sha256: str = Field(max_length=64)
    document: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_utc())
    retired_at: datetime | None = Field(sa_column=_utc(nullable=True))


class ArtifactRow(SQLModel, table=True):
    """A file of a release; ``location`` names the store that holds it."""

    __tablename__ = "artifacts"
    sha256: str = Field(primary_key=True, max_length=64)
    length_bytes: int = Field(sa_column=_big())
    location: str = Field(max_length=40)
    created_at: datetime = Field(sa_column=_utc())


class PolicyRow(SQLModel, table=True):
    __tablename__ = "policies"
    name: str = Field(primary_key=True, max_length=80)
    version: int = Field(sa_type=Integer)
    created_at: datetime = Field(sa_column=_utc())
    retired_at: datetime | None = Field(sa_column=_utc(nullable=True))


class PolicyVersionRow(SQLModel, table=True):
    """One version of a policy; never changed once written."""

    __tablename__ = "policy_versions"
    name: str = Field(
        sa_column=Column("name", ForeignKey("policies.name"), primary_key=True, nullable=False)
    )
    version: int = Field(primary_key=True, sa_type=Integer)
    body: str = Field(sa_column=_text())
    created_at: datetime = Field(sa_column=_utc())


class DecisionRow(SQLModel, table=True):
    """A decision and the inputs it came from. Append-only."""

    __tablename__ = "decisions"
    __table_args__ = (Index("ix_decisions_device_id_id", "device_id", "id"),)
    id: str = Field(primary_key=True, max_length=40)
    device_id: str = Field(sa_column=Column(ForeignKey("devices.id"), nullable=False))
    created_at: datetime = Field(sa_column=_utc())
    action: str = Field(max_length=16)
    release_number: int = Field(sa_type=Integer)
    policy_name: str = Field(max_length=80)
    policy_version: int = Field(sa_type=Integer)
    point_key: str | None = Field(max_length=120, default=None)
    document: str = Field(sa_column=_text())
    inputs: str = Field(sa_column=_text())


class ReportRow(SQLModel, table=True):
    """What a box told us; (device, key) is unique, so a repeated report is stored once.

    No other index: it would cost every check-in a quarter more, and serve an operator's list.
    """

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("device_id", "key", name="uq_reports_device_id_key"),)
    id: int | None = Field(sa_column=Column(RowNumber, primary_key=True), default=None)
    device_id: str = Field(sa_column=Column(ForeignKey("devices.id"), nullable=False))
    key: str = Field(max_length=120)
    sequence: int = Field(sa_column=_big())
    kind: str = Field(max_length=24)
    sent_at: datetime = Field(sa_column=_utc())
    received_at: datetime = Field(sa_column=_utc())
    body: str = Field(sa_column=_text())


class ObservationRow(SQLModel, table=True):
    """What one box saw of one point of one release."""

    __tablename__ = "observations"
    device_id: str = Field(
        sa_column=Column("device_id", ForeignKey("devices.id"), primary_key=True, nullable=False)
    )
    release_number: int = Field(primary_key=True, sa_type=Integer)
    point_key: str = Field(primary_key=True, max_length=120)
    peak_bytes: int | None = Field(sa_column=_big(nullable=True))
    balanced_accuracy: float | None = Field(default=None)
    accuracy_sequence: int = Field(sa_column=_big())
    failures: int = Field(sa_type=Integer)
    failed_permanently: bool = Field()
    updated_at: datetime = Field(sa_column=_utc())


def _table(row: type[SQLModel]) -> Table:
    table: Table = SQLModel.metadata.tables[str(row.__tablename__)]
    return table


fleet = _table(FleetRow)
credentials = _table(CredentialRow)
devices = _table(DeviceRow)
releases = _table(ReleaseRow)
artifacts = _table(ArtifactRow)
policies = _table(PolicyRow)
policy_versions = _table(PolicyVersionRow)
decisions = _table(DecisionRow)
reports = _table(ReportRow)
observations = _table(ObservationRow)
