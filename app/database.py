"""Engines, transactions and migrations. SQLite (WAL, FULL) and PostgreSQL alike.

Transactions are opened explicitly: a writing one on SQLite begins IMMEDIATE, so that no
read-modify-write can lose an update, and waits for the other writer up to the busy timeout.
Operators' work is done on a session, what boxes ask all day on the connection beneath it.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlmodel import Session

from alembic import command
from app.errors import (
    DatabaseFullError,
    DatabaseUnavailableError,
    DatabaseUrlError,
    SchemaOutOfDateError,
)

WRITES = {"paretofleet_writes": True}
POSTGRESQL_DISK_FULL = "53100"
"""SQLSTATE disk_full (PostgreSQL, appendix A)."""
POSTGRESQL_LIMITS = "-c statement_timeout=10s -c lock_timeout=5s"
Transaction: TypeAlias = Session
CoreTransaction: TypeAlias = Connection


def make_engine(url: str, *, busy_timeout_ms: int = 5_000) -> Engine:
    """Return an engine for ``url``; the folder of a SQLite file is made, the file is not.

    Raises DatabaseUrlError, which never shows the URL.
    """
    try:
        if make_url(url).get_backend_name() == "sqlite":
            return _sqlite_engine(url, busy_timeout_ms)
        return _postgresql_engine(url)
    except (ArgumentError, ImportError, ValueError):
        raise DatabaseUrlError from None


def _postgresql_engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "options": POSTGRESQL_LIMITS},
    )


def _sqlite_engine(url: str, busy_timeout_ms: int) -> Engine:
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=10, max_overflow=40, pool_timeout=10)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms:d}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("paretofleet_one_statement"):
            return
        begin = "BEGIN IMMEDIATE" if options.get("paretofleet_writes") else "BEGIN"
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def named_errors(engine: Engine) -> Iterator[None]:
    """Turn what the driver raises into an error of ours, without password or statement.

    Raises DatabaseFullError or DatabaseUnavailableError.
    """
    try:
        yield
    except SQLAlchemyError as exc:
        if is_full(exc):
            raise DatabaseFullError from exc
        url = engine.url
        where = url.set(password=None, query={}).render_as_string()
        said = str(exc.orig if isinstance(exc, DBAPIError) else exc).strip()
        why = said.splitlines()[0] if said else type(exc).__name__
        for secret in {url.password, url.query.get("password")} - {None, ""}:
            why = why.replace(str(secret), "***")
        raise DatabaseUnavailableError(where, why) from exc


def is_full(exc: BaseException) -> bool:
    """Say whether the database refused a write because its disk has no room left.

    The error that says so may lie beneath one from rolling back a savepoint that is gone with it.
    """
    said = exc.orig if isinstance(exc, DBAPIError) else None
    if getattr(said, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return True
    if getattr(said, "sqlstate", None) == POSTGRESQL_DISK_FULL:
        return True
    return exc.__context__ is not None and is_full(exc.__context__)


def one_statement(engine: Engine) -> Engine:
    """Return the engine for reads of a single statement: they need no transaction around them."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(paretofleet_one_statement=True)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def reading(engine: Engine) -> Iterator[Transaction]:
    """Give a transaction that only reads."""
    with Session(engine) as session:
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Transaction]:
    """Give a transaction that commits when the block ends and rolls back on error.

    It begins at once: who cannot get the lock fails here, not at one of several units.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.connection(execution_options=WRITES)
        yield session


def alembic_config() -> Config:
    """Return the migrations' configuration: beside the source, or where a wheel puts it."""
    beside = Path(__file__).resolve().parent.parent / "alembic"
    installed = Path(sys.prefix) / "share" / "paretofleet" / "alembic"
    config = Config()
    config.set_main_option(
        "script_location", str(beside if (beside / "env.py").is_file() else installed)
    )
    return config


def migrate(engine: Engine) -> None:
    """Bring the schema to head in one transaction."""
    config = alembic_config()
    with engine.connect().execution_options(**WRITES) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(engine: Engine) -> None:
    """Raise SchemaOutOfDateError unless the schema is at head."""
    needed = ScriptDirectory.from_config(alembic_config()).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != needed:
        raise SchemaOutOfDateError(found, needed)
