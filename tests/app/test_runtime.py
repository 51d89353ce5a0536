from datetime import UTC, datetime
from functools import partial

import pytest
from sqlmodel import col, select

from app.database import make_engine, reading
from app.errors import BusyError
from app.repositories import credentials, policies
from app.runtime import Work, do_all
from app.services.policies import new_version
from app.tables import CredentialRow
from app.writer import Transactions
from contract.policy import PolicyBody

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def write(engine):
    """Return a function that does pieces of work in one batch and returns their outcomes."""
    return lambda *works: Transactions(engine=engine, handlers={Work: do_all})(
        [Work(work) for work in works]
    )


def add_token(tx, sha256):
    credentials.add(
        tx,
        CredentialRow(
            sha256=sha256,
            kind="operator",
            device_id=None,
            uses_left=None,
            created_at=NOW,
            expires_at=None,
            revoked_at=None,
        ),
    )
    return sha256


def test_a_row_that_cannot_be_stored_fails_its_own_work_alone(engine, write):
    a, again, b = write(*(partial(add_token, sha256=name) for name in ("a", "a", "b")))
    assert (a, b) == ("a", "b")
    assert isinstance(again, BusyError)
    with reading(engine) as tx:
        found = tx.exec(select(CredentialRow.sha256).order_by(col(CredentialRow.sha256))).all()
    assert found == ["a", "b"]


def test_work_that_fails_takes_its_pending_rows_along(engine, write):
    def add_and_fail(tx):
        add_token(tx, "lost")
        raise KeyError

    failed, kept = write(add_and_fail, partial(add_token, sha256="kept"))
    assert isinstance(failed, KeyError)
    assert kept == "kept"
    with reading(engine) as tx:
        assert credentials.find(tx, "lost") is None


def test_each_work_of_a_batch_is_answered_with_the_rows_as_it_left_them(engine, write):
    bodies = [PolicyBody(priority=priority) for priority in (1, 2)]
    found = write(*(partial(new_version, name="default", body=b, now=NOW) for b in bodies))
    assert [(policy.version, newest.version) for policy, newest in found] == [(2, 2), (3, 3)]
    with reading(engine) as tx:
        assert [row.version for row in policies.versions(tx, "default")] == [3, 2, 1]
