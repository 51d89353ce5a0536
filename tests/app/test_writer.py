import asyncio
import sqlite3
import threading
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from app.database import make_engine
from app.errors import BusyError, NotFoundError
from app.writer import Batcher, Transactions


@dataclass(frozen=True)
class Put:
    value: int


def put_all(tx, units):
    for unit in units:
        if unit.value < 0:
            raise NotFoundError("thing", unit.value)
        tx.execute(text("INSERT INTO things VALUES (:v)"), {"v": unit.value})
    return [unit.value for unit in units]


@pytest.fixture
def engine(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'writer.db'}", busy_timeout_ms=50)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (value INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def stored(engine):
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(text("SELECT value FROM things"))]


def submit_all(engine, values, limit=1000):
    """Submit every value at once; returns outcomes or exceptions, in order."""
    batcher = Batcher("test", Transactions(engine=engine, handlers={Put: put_all}), limit)

    async def run():
        calls = [batcher.submit(Put(value)) for value in values]
        return await asyncio.gather(*calls, return_exceptions=True)

    try:
        return asyncio.run(run())
    finally:
        batcher.close()


def test_everything_that_waits_is_answered_with_its_own_outcome(engine):
    assert submit_all(engine, range(500)) == list(range(500))
    assert stored(engine) == list(range(500))


def test_a_unit_that_fails_does_not_hurt_the_others(engine):
    outcomes = submit_all(engine, [1, -2, 3, 3, 4])
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], NotFoundError)
    assert isinstance(outcomes[3], BusyError)
    assert stored(engine) == [1, 3, 4]


def test_a_full_queue_refuses_instead_of_growing(engine):
    outcomes = submit_all(engine, range(10), limit=4)
    refused = [o for o in outcomes if isinstance(o, BusyError)]
    assert len(refused) == 6
    assert len(stored(engine)) == 4


def test_a_locked_database_is_busy_and_recovers(engine):
    other = sqlite3.connect(engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (outcome,) = submit_all(engine, [1])
    assert isinstance(outcome, BusyError)
    assert int(outcome.headers["Retry-After"]) > 0
    other.execute("ROLLBACK")
    other.close()
    assert submit_all(engine, [1]) == [1]


def test_nobody_waits_for_ever_on_an_error_that_the_driver_gives_no_code(engine):
    def misuse(tx, units):
        tx.connection().exec_driver_sql("SELECT ?", (1, 2))
        return units

    batcher = Batcher("test", Transactions(engine=engine, handlers={Put: misuse}), 10)

    async def run():
        calls = (batcher.submit(Put(value)) for value in (1, 2))
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)

    outcomes = asyncio.run(run())
    batcher.close()
    assert all(isinstance(outcome, Exception) for outcome in outcomes)


def test_what_comes_while_a_batch_commits_shares_the_next_one():
    batches = []
    gate = threading.Event()

    def work(units):
        gate.wait(10)
        batches.append(list(units))
        return units

    batcher = Batcher("test", work, 1000)

    async def run():
        first = asyncio.ensure_future(batcher.submit(0))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(batcher.submit(i)) for i in range(1, 50)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, *rest)

    asyncio.run(run())
    batcher.close()
    assert len(batches) <= 3
    assert [unit for batch in batches for unit in batch] == list(range(50))


def test_a_caller_that_gave_up_does_not_hurt_its_batch():
    batcher = Batcher("test", lambda units: units, 10)

    async def run():
        given_up = asyncio.ensure_future(batcher.submit(1))
        other = asyncio.ensure_future(batcher.submit(2))
        await asyncio.sleep(0)
        given_up.cancel()
        return await other

    assert asyncio.run(run()) == 2
    batcher.close()
