"""Group commit: every request that waits shares one durable transaction, off the event loop.

While one batch commits, the next gathers; each request is answered only after the commit that
holds its work. A unit that fails does not hurt the others: the batch is rolled back and done
again with a SAVEPOINT around each. Where the disk is full nothing of a batch is stored, and
everybody in it is told so. What a unit means is the handlers' business, not this file's.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.database import Transaction, is_full, writing
from app.errors import BusyError, DatabaseFullError

Outcome = Any | Exception
Handler = Callable[[Transaction, list[Any]], Sequence[Outcome]]
MAX_BATCH = 512


class Batcher:
    """Gathers what waits and hands it, a batch at a time, to ``work`` in one thread."""

    def __init__(
        self, name: str, work: Callable[[list[Any]], Sequence[Outcome]], limit: int
    ) -> None:
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._draining: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def submit(self, unit: Any) -> Any:  # noqa: ANN401 - units and outcomes are the handlers' own
        """Return the unit's outcome after its batch is through; raises BusyError when full."""
        if len(self._waiting) >= self._limit:
            raise BusyError("Too many requests wait for the database.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((unit, future))
        if self._draining is None:
            self._draining = loop.create_task(self._drain(loop))
        return await future

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                units = [unit for unit, _ in batch]
                outcomes = await loop.run_in_executor(self._thread, self._attempt, units)
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    _resolve(future, outcome)
        finally:
            self._draining = None

    def _attempt(self, units: list[Any]) -> Sequence[Outcome]:
        try:
            with _named_errors():
                return self._work(units)
        except Exception as exc:  # noqa: BLE001 - handed to every waiting request, which raises it
            return [exc] * len(units)

    def close(self) -> None:
        """Wait for the batch in hand."""
        self._thread.shutdown(wait=True)


def _resolve(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn what the database raises into DatabaseFullError or BusyError."""
    try:
        yield
    except SQLAlchemyError as exc:
        if is_full(exc):
            raise DatabaseFullError from exc
        message = "The database did not take the write."
        raise BusyError(message) from exc


@dataclass(frozen=True, kw_only=True)
class Transactions:
    """Does a batch of units in one transaction, by the handler of each unit's type."""

    engine: Engine
    handlers: dict[type, Handler]

    def __call__(self, units: list[Any]) -> Sequence[Outcome]:
        """Return one outcome per unit, after the commit."""
        try:
            with writing(self.engine) as tx:
                return self._apply(tx, units)
        except Exception:
            if len(units) == 1:
                raise
        return self._one_by_one(units)

    def _apply(self, tx: Transaction, units: list[Any]) -> list[Outcome]:
        outcomes: list[Outcome] = [None] * len(units)
        for kind in dict.fromkeys(type(unit) for unit in units):
            places = [i for i, unit in enumerate(units) if type(unit) is kind]
            found = self.handlers[kind](tx, [units[i] for i in places])
            for place, outcome in zip(places, found, strict=True):
                outcomes[place] = outcome
        return outcomes

    def _one_by_one(self, units: list[Any]) -> list[Outcome]:
        with writing(self.engine) as tx:
            return [self._in_savepoint(tx, unit) for unit in units]

    def _in_savepoint(self, tx: Transaction, unit: Any) -> Outcome:  # noqa: ANN401 - as above
        try:
            with _named_errors(), tx.begin_nested():
                return self._apply(tx, [unit])[0]
        except DatabaseFullError:
            raise  # SQLite has ended the transaction, and with it what went before
        except Exception as exc:  # noqa: BLE001 - handed to the one request it belongs to
            return exc
