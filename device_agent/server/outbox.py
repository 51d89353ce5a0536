"""Reports that the server has not yet acknowledged: a small, durable, bounded queue.

SQLite with ``synchronous=FULL``: a report that ``add`` returned from survives power loss. A report
keeps its key and sequence number however often it is sent, so that the server can drop doubles.
Of what only says how things stand (profile, data quality, calibration) a newer report takes the
place of an older one that was never sent. Over ``cap_bytes`` the oldest go in this order: what a
newer one overtook, summaries (two untried ones become one), events, summaries. Outcomes are never
dropped: there is one per task, and they come on top of the cap where they alone pass it.
"""

import contextlib
import itertools
import json
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from contract.report import InferenceSummaryBody, Report, ReportBatch, ReportBody
from device_agent.disk.files import named_disk_errors, write_atomic
from device_agent.errors import AgentError, DiskFullError, StateError

log = structlog.get_logger()
BATCH = 200
_BATCH_BYTES = 400_000
_LONGEST_WINDOW_S = 86_400
_LATEST_COUNTS = ("profile", "data_quality", "calibration")
_RESERVED = 10_000
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS reports (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    made_at TEXT NOT NULL,
    body TEXT NOT NULL,
    tried INTEGER NOT NULL DEFAULT 0
)
"""


class Outbox:
    """Used from one thread. ``first_sequence`` numbers the first report of a new state folder.

    It defaults to the clock in milliseconds. An outbox made anew in an old folder goes on above
    the old numbers whatever the clock says: a file beside it holds a number that none has passed.
    """

    def __init__(
        self, path: Path, cap_bytes: int = 8_000_000, *, first_sequence: int | None = None
    ) -> None:
        self.cap_bytes = cap_bytes
        self._path = path
        first = int(time.time() * 1000) if first_sequence is None else first_sequence
        self._ceiling = _read_number(self._ceiling_path)
        first = max(first, self._ceiling + 1)
        try:
            self._database = self._open(first)
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF not in _DAMAGED:
                raise self._named(exc) from exc
            self._put_aside()
            self._database = self._open(first)

    @property
    def _ceiling_path(self) -> Path:
        return self._path.with_suffix(".sequence")

    def _put_aside(self) -> None:
        log.error("outbox_damaged", kept_as=f"{self._path.name}.corrupt")
        self._path.replace(self._path.with_name(f"{self._path.name}.corrupt"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _named(self, exc: sqlite3.DatabaseError) -> AgentError:
        if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            return DiskFullError(self._path)
        return StateError(
            f"{self._path} cannot be used ({exc}); see that the agent may write there and that no "
            "other program holds it"
        )

    def _open(self, first_sequence: int) -> sqlite3.Connection:
        with named_disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute(_SCHEMA)
            if not database.execute("SELECT count(*) FROM sqlite_sequence").fetchone()[0]:
                database.execute(
                    "INSERT INTO sqlite_sequence(name, seq) VALUES ('reports', ?)",
                    (max(first_sequence, 1) - 1,),
                )
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add(self, key: str, body: ReportBody, made_at: datetime) -> bool:
        """Keep a report until it is acknowledged; False when ``key`` is already kept.

        Raises DiskFullError and StateError; after either nothing was added.
        """
        with self._durably():
            cursor = self._database.execute(
                "INSERT OR IGNORE INTO reports(key, kind, made_at, body) VALUES (?, ?, ?, ?)",
                (key, body.kind, made_at.isoformat(), body.model_dump_json()),
            )
            added = cursor.rowcount == 1
            if added:
                self._raise_ceiling(cursor.lastrowid or 0)
                self._overtake(body.kind, cursor.lastrowid or 0)
                self._shrink()
        return added

    def _raise_ceiling(self, sequence: int) -> None:
        """Put a higher number on disk before any report bears it."""
        if sequence >= self._ceiling:
            self._ceiling = sequence + _RESERVED
            write_atomic(self._ceiling_path, str(self._ceiling).encode())

    def _overtake(self, kind: str, sequence: int) -> None:
        if kind in _LATEST_COUNTS:
            self._database.execute(
                "DELETE FROM reports WHERE kind = ? AND sequence < ? AND tried = 0",
                (kind, sequence),
            )

    def batch(self, limit: int = BATCH) -> ReportBatch | None:
        """Return the oldest reports in order, at most 200 and about 400 kB; None when empty."""
        rows = self._database.execute(
            "SELECT sequence, key, made_at, body FROM reports ORDER BY sequence LIMIT ?", (limit,)
        ).fetchall()
        reports: list[Report] = []
        total_bytes = 0
        for sequence, key, made_at, body in rows:
            total_bytes += len(body)
            if reports and total_bytes > _BATCH_BYTES:
                break
            reports.append(
                Report.model_validate_json(
                    json.dumps(
                        {
                            "key": key,
                            "sequence": sequence,
                            "sent_at": made_at,
                            "body": json.loads(body),
                        }
                    )
                )
            )
        return ReportBatch(reports=tuple(reports)) if reports else None

    def mark_tried(self, keys: Sequence[str]) -> None:
        """Say that these are about to be sent: from now on they are never merged."""
        with self._durably():
            self._database.executemany(
                "UPDATE reports SET tried = 1 WHERE key = ? AND tried = 0", [(k,) for k in keys]
            )

    def acknowledge(self, keys: Sequence[str]) -> None:
        """Forget what the server has stored."""
        with self._durably():
            self._database.executemany("DELETE FROM reports WHERE key = ?", [(k,) for k in keys])

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM reports").fetchone()[0])

    def size_bytes(self) -> int:
        """Return the bytes of the bodies kept (what the cap bounds)."""
        total = self._database.execute("SELECT coalesce(sum(length(body)), 0) FROM reports")
        return int(total.fetchone()[0])

    @contextlib.contextmanager
    def _durably(self) -> Iterator[None]:
        """One transaction: all of it is on disk afterwards, or none."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException as exc:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            if isinstance(exc, sqlite3.DatabaseError):
                raise self._named(exc) from exc
            raise

    def _shrink(self) -> None:
        while self.size_bytes() > self.cap_bytes:
            dropped = (
                any(self._drop_oldest(kind, keep=1) for kind in _LATEST_COUNTS)
                or self._merge_summaries()
                or self._drop_oldest("event")
                or self._drop_oldest("inference_summary")
            )
            if not dropped:
                return

    def _drop_oldest(self, kind: str, *, keep: int = 0) -> bool:
        rows = self._rows(kind, keep + 1)
        if len(rows) <= keep:
            return False
        self._database.execute("DELETE FROM reports WHERE sequence = ?", (rows[0][0],))
        return True

    def _merge_summaries(self) -> bool:
        """Add up the first two untried neighbours that together stay within a day."""
        untried = [row for row in self._rows("inference_summary", -1) if not row[2]]
        for (older, older_body, _), (newer, newer_body, _) in itertools.pairwise(untried):
            merged = merge_summaries(
                InferenceSummaryBody.model_validate_json(older_body),
                InferenceSummaryBody.model_validate_json(newer_body),
            )
            if merged is not None:
                self._replace(older, newer, merged)
                return True
        return False

    def _replace(self, older: int, newer: int, merged: InferenceSummaryBody) -> None:
        self._database.execute("DELETE FROM reports WHERE sequence = ?", (newer,))
        self._database.execute(
            "UPDATE reports SET key = ?, body = ? WHERE sequence = ?",
            (str(uuid.uuid4()), merged.model_dump_json(), older),
        )

    def _rows(self, kind: str, limit: int) -> list[tuple[int, str, int]]:
        return self._database.execute(
            "SELECT sequence, body, tried FROM reports WHERE kind = ? ORDER BY sequence LIMIT ?",
            (kind, limit),
        ).fetchall()


def merge_summaries(
    older: InferenceSummaryBody, newer: InferenceSummaryBody
) -> InferenceSummaryBody | None:
    """Add two windows; None when together they pass a day.

    Percentiles do not add: they go. Of two drifts the larger stays.
    """
    end = newer.window_start + timedelta(seconds=newer.window_s)
    window_s = round((end - older.window_start).total_seconds())
    if not 1 <= window_s <= _LONGEST_WINDOW_S:
        return None
    return InferenceSummaryBody(
        window_start=older.window_start,
        window_s=window_s,
        counts=_added(older.counts, newer.counts),
        cloud_count=older.cloud_count + newer.cloud_count,
        cloud_reasons=_added(older.cloud_reasons, newer.cloud_reasons),
        confidence_counts=_added_bins(older.confidence_counts, newer.confidence_counts),
        audited_count=older.audited_count + newer.audited_count,
        drift=max((d for d in (older.drift, newer.drift) if d is not None), default=None),
    )


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def _added_bins(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in itertools.zip_longest(one, other, fillvalue=0))


def _read_number(path: Path) -> int:
    """Return the number in a file; 0 where there is none that can be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
