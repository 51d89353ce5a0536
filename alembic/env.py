"""How migrations reach the database: a connection handed over, or PARETOFLEET_DATABASE_URL."""

from sqlalchemy import Connection
from sqlmodel import SQLModel

from alembic import context
from app import tables
from app.database import WRITES, make_engine
from app.settings import Settings

assert tables  # noqa: S101 - importing it fills the metadata


def run(connection: Connection) -> None:
    """Run the migrations on ``connection``; batch mode lets SQLite alter tables."""
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    engine = make_engine(Settings().url)
    with engine.connect().execution_options(**WRITES) as own, own.begin():
        run(own)
