from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from alembic import command
from app import database
from app.database import alembic_config, check_schema, make_engine, migrate, reading, writing
from app.errors import SchemaOutOfDateError
from app.repositories import policies
from app.tables import UtcDateTime
from contract.policy import PolicyBody


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def with_connection(engine, work):
    config = alembic_config()
    with engine.connect().execution_options(**database.WRITES) as connection, connection.begin():
        config.attributes["connection"] = connection
        work(config)


def test_the_tables_are_what_the_migrations_make(engine):
    with_connection(engine, command.check)


def test_migrations_go_down_and_up_again(engine):
    with_connection(engine, lambda config: command.downgrade(config, "base"))
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    with pytest.raises(SchemaOutOfDateError, match="paretofleet migrate"):
        check_schema(engine)
    migrate(engine)
    migrate(engine)
    check_schema(engine)


def test_the_first_policy_is_the_contracts_default(engine):
    with reading(engine) as tx:
        (policy,) = policies.in_force(tx)
    assert (policy.name, policy.body) == ("default", PolicyBody())


def test_a_failed_transaction_leaves_nothing(engine):
    now = datetime.now(UTC)

    def fail_after_writing():
        with writing(engine) as tx:
            policies.add(tx, "lost", PolicyBody(), now)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_writing()
    with reading(engine) as tx:
        assert policies.find(tx, "lost") is None


def test_sqlite_is_durable_and_keeps_foreign_keys(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


def test_who_writes_to_sqlite_holds_the_lock_from_the_start(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'x.db'}", busy_timeout_ms=1)
    with writing(engine), pytest.raises(OperationalError, match="locked"), writing(engine):
        pass
    engine.dispose()


def test_a_time_without_a_zone_reaches_no_database(engine):
    with pytest.raises(ValueError, match="without a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), engine.dialect)  # noqa: DTZ001 - the point
