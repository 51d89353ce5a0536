"""The first schema, and the policy that every box has until an operator writes another

Revision ID: 0001
Revises:
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DEFAULT_POLICY = (
    '{"selector":{},"priority":0,"accuracy_floor":0.5,"budget_fraction":0.95,'
    '"reserve_bytes":268435456,"max_latency_ms":null,"max_artifact_bytes":null,'
    '"objective":["max_accuracy","min_train_seconds","min_train_bytes"],"accuracy_step":0.005,'
    '"hysteresis":0.01,"fallback":"nothing_fits","images_may_leave":false}'
)


def upgrade() -> None:
    _fleet_and_devices()
    _catalogue()
    _policies()
    _history()
    _first_rows()


def _fleet_and_devices() -> None:
    op.create_table(
        "fleet",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="fleet_has_one_row"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("serial", sa.String(120), nullable=False, unique=True),
        sa.Column("enrolled_by", sa.String(64), nullable=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("profile_sequence", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("last_seen_at", UTC_TIME, nullable=True),
        sa.Column("inputs_revision", sa.BigInteger(), nullable=False),
        sa.Column("decided_inputs", sa.BigInteger(), nullable=False),
        sa.Column("decided_fleet", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(80), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
    )
    op.create_table(
        "credentials",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("device_id", sa.String(40), sa.ForeignKey("devices.id"), nullable=True),
        sa.Column("uses_left", sa.BigInteger(), nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("expires_at", UTC_TIME, nullable=True),
        sa.Column("revoked_at", UTC_TIME, nullable=True),
    )
    op.create_index("ix_credentials_device_id", "credentials", ["device_id"])


def _catalogue() -> None:
    op.create_table(
        "releases",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("task", sa.String(80), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("retired_at", UTC_TIME, nullable=True),
    )
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("length_bytes", sa.BigInteger(), nullable=False),
        sa.Column("location", sa.String(40), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
    )


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("retired_at", UTC_TIME, nullable=True),
    )
    op.create_table(
        "policy_versions",
        sa.Column("name", sa.String(80), sa.ForeignKey("policies.name"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
    )


def _history() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("device_id", sa.String(40), sa.ForeignKey("devices.id"), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("release_number", sa.Integer(), nullable=False),
        sa.Column("policy_name", sa.String(80), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("point_key", sa.String(120), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
    )
    op.create_index("ix_decisions_device_id_id", "decisions", ["device_id", "id"])
    op.create_table(
        "reports",
        sa.Column("id", ROW_NUMBER, primary_key=True),
        sa.Column("device_id", sa.String(40), sa.ForeignKey("devices.id"), nullable=False),
        sa.Column("key", sa.String(120), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("sent_at", UTC_TIME, nullable=False),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("device_id", "key", name="uq_reports_device_id_key"),
    )
    op.create_table(
        "observations",
        sa.Column("device_id", sa.String(40), sa.ForeignKey("devices.id"), primary_key=True),
        sa.Column("release_number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("point_key", sa.String(120), primary_key=True),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("balanced_accuracy", sa.Float(), nullable=True),
        sa.Column("accuracy_sequence", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_permanently", sa.Boolean(), nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
    )


def _first_rows() -> None:
    now = datetime.now(UTC)
    fleet = sa.table("fleet", sa.column("id"), sa.column("revision"))
    op.bulk_insert(fleet, [{"id": 1, "revision": 1}])
    policies = sa.table(
        "policies", sa.column("name"), sa.column("version"), sa.column("created_at", UTC_TIME)
    )
    op.bulk_insert(policies, [{"name": "default", "version": 1, "created_at": now}])
    versions = sa.table(
        "policy_versions",
        sa.column("name"),
        sa.column("version"),
        sa.column("body"),
        sa.column("created_at", UTC_TIME),
    )
    op.bulk_insert(
        versions, [{"name": "default", "version": 1, "body": DEFAULT_POLICY, "created_at": now}]
    )


def downgrade() -> None:
    for table in (
        "observations",
        "reports",
        "decisions",
        "policy_versions",
        "policies",
        "artifacts",
        "releases",
        "credentials",
        "devices",
        "fleet",
    ):
        op.drop_table(table)
