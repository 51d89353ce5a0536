"""A database that really has no room: SQLite is told how many pages its file may have.

PostgreSQL cannot be told; there a trigger raises what its disk would, by the same code.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from starlette.testclient import TestClient

from app import problems
from app.database import make_engine, reading
from app.errors import DatabaseFullError
from app.writer import Batcher, Transactions
from contract.report import ReportBatch
from device_agent.errors import ServerBusyError
from device_agent.server.client import ServerClient
from tests.app.world import MB, Box, Server, assert_problem, outcome

NO_LIMIT = 1_073_741_823
LARGE = "x" * 100_000

REFUSE = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
)

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@contextmanager
def no_more_pages(engine: Any) -> Iterator[None]:
    """Let the file grow no further; what fits into its present pages still does."""
    pages = [1]

    def limit(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages[0]}").fetchall()

    event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        pages[0] = NO_LIMIT  # each connection hears of it when it is taken from the pool


def summary() -> dict[str, Any]:
    return {
        "kind": "inference_summary",
        "window_start": "2026-01-01T00:00:00Z",
        "window_s": 3600,
        "counts": {"ok": 1, "defect": 0},
        "cloud_count": 0,
        "latency_ms_p50": 1.0,
        "latency_ms_p99": 2.0,
    }


def fill(box: Box, most: int = 400) -> tuple[int, Any]:
    """Report until it is refused; return how many were taken, and the refusal."""
    for taken in range(most):
        answer = box.report(*(summary() for _ in range(20)))
        if answer.status_code != 200:
            return taken, answer
    message = "the database never became full"
    raise AssertionError(message)


@on_sqlite
def test_a_check_in_without_room_is_told_to_wait_and_works_once_there_is_room(
    server: Server,
) -> None:
    box = server.box()
    with no_more_pages(server.engine):
        _, refused = fill(box)
        assert_problem(refused, 503, "database-full")
        assert int(refused.headers["Retry-After"]) >= 60
        assert "make room" in refused.json()["detail"]

    taken = box.report(summary(), key="after")
    assert taken.status_code == 200
    assert [r["status"] for r in taken.json()["receipts"]] == ["stored"]


@on_sqlite
def test_nothing_of_a_refused_check_in_is_stored(server: Server) -> None:
    box = server.box()
    with no_more_pages(server.engine):
        taken, _ = fill(box)
        with reading(server.engine) as tx:
            assert tx.connection().execute(text("SELECT count(*) FROM reports")).scalar() == (
                20 * taken
            )


@on_sqlite
def test_a_policy_that_finds_no_room_is_refused_whole(server: Server) -> None:
    box = server.box()
    with no_more_pages(server.engine):
        fill(box)
        answers = [
            server.post("/v1/policies", {"name": f"policy-{n}", "priority": n}) for n in range(200)
        ]
        refused = [n for n, answer in enumerate(answers) if answer.status_code != 201]
        assert refused
        assert_problem(answers[refused[0]], 503, "database-full")
        assert server.get(f"/v1/policies/policy-{refused[0]}").status_code == 404

    again = server.post("/v1/policies", {"name": f"policy-{refused[0]}", "priority": refused[0]})
    assert again.status_code == 201


def test_nobody_in_a_batch_is_told_that_he_is_stored_when_the_disk_was_full_for_another(
    tmp_path: Any,
) -> None:
    """SQLite ends the whole transaction when it is full, with what went before in it."""
    engine = make_engine(f"sqlite:///{tmp_path / 'batch.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY, body TEXT)"))

    def put_all(tx: Any, units: list[tuple[int, str]]) -> list[int]:
        for number, body in units:
            put = text("INSERT INTO things VALUES (:n, :b)")
            tx.connection().execute(put, {"n": number, "b": body})
        return [number for number, _ in units]

    batcher = Batcher("test", Transactions(engine=engine, handlers={tuple: put_all}), 100)
    units = [(1, "a"), (2, LARGE), (3, "c"), (4, LARGE), (5, "e")]

    async def run() -> list[Any]:
        return await asyncio.gather(*(batcher.submit(u) for u in units), return_exceptions=True)

    with no_more_pages(engine):
        outcomes = asyncio.run(run())
    batcher.close()

    with engine.connect() as connection:
        stored = [row[0] for row in connection.execute(text("SELECT id FROM things"))]
    engine.dispose()
    assert stored == []
    assert [type(outcome) for outcome in outcomes] == [DatabaseFullError] * len(units)


@on_sqlite
def test_a_full_server_still_answers_what_needs_no_room(server: Server) -> None:
    box = server.box()
    state = box.desired()
    with no_more_pages(server.engine):
        fill(box)
        assert box.desired() == state
        assert server.get("/v1/devices").status_code == 200
        assert server.client.get("/readyz").status_code == 200
        answer = server.post("/v1/policies/nobody/retire", {})
        assert_problem(answer, 404, "not-found")


@on_sqlite
def test_what_an_outcome_teaches_is_not_stored_without_the_outcome(server: Server) -> None:
    box = server.box()
    state = box.desired()
    failed = outcome(state, "over_cap", peak_rss_bytes=900 * MB)
    with no_more_pages(server.engine):
        fill(box)
        refused = box.report(failed, *(summary() for _ in range(99)))
        assert_problem(refused, 503, "database-full")
        assert box.desired() == state
    assert box.report(failed).status_code == 200
    assert box.desired() != state


@on_sqlite
def test_an_agent_keeps_its_reports_and_comes_back_when_told(server: Server) -> None:
    box = server.box()
    agent = ServerClient(server.client, box.token)
    batch = ReportBatch.model_validate({"reports": [box.envelope(summary(), "kept")]})
    with no_more_pages(server.engine):
        fill(box)
        large = [box.envelope(summary()) for _ in range(100)]
        with pytest.raises(ServerBusyError) as refused:
            agent.send(ReportBatch.model_validate({"reports": large}))
        assert refused.value.retry_after_s == 60
    assert [receipt.status for receipt in agent.send(batch).receipts] == ["stored"]


@on_postgresql
@pytest.mark.parametrize("table", ["reports", "policies"])
def test_postgresql_without_room_is_told_the_same(server: Server, table: str) -> None:
    def write() -> Any:
        return box.report(summary()) if table == "reports" else server.post("/v1/policies", policy)

    box, policy = server.box(), {"name": "tight", "priority": 7}
    with server.engine.begin() as connection:
        connection.execute(text(REFUSE))
        trigger = f"CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()"
        connection.execute(text(trigger))
    refused = write()
    assert_problem(refused, 503, "database-full")
    assert int(refused.headers["Retry-After"]) >= 60
    with server.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER no_room ON {table}"))
    assert write().status_code in {200, 201}


def test_a_request_that_meets_a_full_disk_outside_the_writer_is_told_so_too(tmp_path: Any) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    app = FastAPI()
    problems.install(app)

    @app.get("/needs-room")
    def needs_room() -> None:
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE large AS SELECT zeroblob(100000)"))

    with no_more_pages(engine), TestClient(app) as client:
        assert_problem(client.get("/needs-room"), 503, "database-full")
    engine.dispose()


@on_postgresql
def test_a_poll_is_answered_when_times_of_contact_find_no_room_and_they_are_written_later(
    server: Server,
) -> None:
    box = server.box()
    etag = box.poll().headers["ETag"]
    with server.engine.begin() as connection:
        connection.execute(text(REFUSE))
        connection.execute(
            text(
                "CREATE TRIGGER no_room BEFORE UPDATE ON devices "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    server.clock.advance(seconds=server.settings.heartbeat_flush_seconds + 1)
    called_at = server.clock()
    assert box.poll(etag).status_code == 304

    with server.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER no_room ON devices"))
    server.clock.advance(seconds=server.settings.heartbeat_flush_seconds + 1)
    other = server.box("box-2")
    assert other.poll().status_code == 200
    seen = server.get(f"/v1/devices/{box.device_id}").json()["last_seen_at"]
    assert seen == called_at.isoformat().replace("+00:00", "Z")
