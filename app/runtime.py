"""What one server process holds: engine, store, the two batchers, the clock. Built once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine

from app.database import CoreTransaction, Transaction, make_engine, one_statement, reading
from app.inference import Predictor
from app.repositories import devices
from app.repositories.devices import Polled
from app.services.deciding import Decide, decide_all
from app.services.reporting import CheckIn, Heartbeats, check_in_all, note_heartbeats
from app.settings import Settings
from app.store import ArtifactStore, LocalStore
from app.writer import Batcher, Handler, Transactions

Clock = Callable[[], datetime]
Jitter = Callable[[], float]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class HeartbeatLog:
    """Times of last contact, gathered in memory and written all at once."""

    flush_after: timedelta
    last_flush: datetime
    times: dict[str, datetime] = field(default_factory=dict)

    def due(self, now: datetime) -> Heartbeats | None:
        """Return what has gathered when it is time to write it, and start anew."""
        if now - self.last_flush < self.flush_after or not self.times:
            return None
        return self.take(now)

    def take(self, now: datetime) -> Heartbeats:
        """Return what has gathered, and start anew."""
        taken, self.times, self.last_flush = self.times, {}, now
        return Heartbeats(taken)

    def put_back(self, unwritten: Heartbeats) -> None:
        """Keep what could not be written, except of boxes that have called again since."""
        self.times = {**unwritten.times, **self.times}


@dataclass(frozen=True, slots=True)
class Work:
    """A unit for the writer: any change that is not worth a statement of its own kind."""

    apply: Callable[[Transaction], Any]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    settings: Settings
    engine: Engine
    store: ArtifactStore
    predictor: Predictor
    poller: Batcher
    writer: Batcher
    heartbeats: HeartbeatLog
    clock: Clock
    jitter: Jitter

    def read(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return ``work`` done in a transaction that only reads, all in the calling thread.

        Opened by a dependency instead, a connection would be held while its request waits for
        a thread, and enough such requests lock each other out.
        """
        with reading(self.engine) as tx:
            return work(tx, *args, **kwargs)

    async def write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return ``work`` done by the one writer, after the commit. It may be run twice."""
        done: T = await self.writer.submit(Work(partial(_apply, work, args, kwargs)))
        return done

    async def close(self) -> None:
        """Write the last heartbeats and let go of threads and connections."""
        try:
            if self.heartbeats.times:
                await self.writer.submit(self.heartbeats.take(self.clock()))
        finally:
            self.poller.close()
            self.writer.close()
            self.predictor.close()
            self.engine.dispose()


def _apply(
    work: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], tx: Transaction
) -> T:
    return work(tx, *args, **kwargs)


def do_all(tx: Transaction, units: Sequence[Work]) -> list[Any]:
    """Do each piece of work in the transaction that all share; none meets another's rows."""
    return [_flushed(tx, unit) for unit in units]


def _flushed(tx: Transaction, unit: Work) -> Any:  # noqa: ANN401 - outcomes are the works' own
    done = unit.apply(tx)
    tx.flush()
    tx.expunge_all()
    return done


def _on_core(do: Callable[[CoreTransaction, list[Any]], Sequence[Any]]) -> Handler:
    """Hand the connection alone to what boxes ask all day."""
    return lambda tx, units: do(tx.connection(), units)


def build(settings: Settings, clock: Clock, jitter: Jitter) -> Runtime:
    """Return the runtime; nothing is written and no thread started before the first request."""
    engine = make_engine(settings.url, busy_timeout_ms=settings.busy_timeout_ms)
    store = LocalStore(settings.data_dir / "artifacts")
    handlers: dict[type, Handler] = {
        CheckIn: _on_core(check_in_all),
        Decide: _on_core(decide_all),
        Heartbeats: _on_core(note_heartbeats),
        Work: do_all,
    }
    return Runtime(
        settings=settings,
        engine=engine,
        store=store,
        predictor=Predictor(
            store,
            threads=settings.inference_threads,
            queue=settings.inference_queue,
            max_pixels=settings.max_image_pixels,
        ),
        poller=Batcher("polls", _poll_reader(engine, clock), settings.writer_queue),
        writer=Batcher(
            "writer", Transactions(engine=engine, handlers=handlers), settings.writer_queue
        ),
        heartbeats=HeartbeatLog(
            flush_after=timedelta(seconds=settings.heartbeat_flush_seconds), last_flush=clock()
        ),
        clock=clock,
        jitter=jitter,
    )


def _poll_reader(engine: Engine, clock: Clock) -> Callable[[list[str]], Sequence[Polled | None]]:
    quick = one_statement(engine)

    def read(hashes: list[str]) -> Sequence[Polled | None]:
        with quick.connect() as connection:
            found = devices.polled(connection, set(hashes), clock())
        return [found.get(sha256) for sha256 in hashes]

    return read
