"""The loop: enrol, say what the box is, ask what to be, become it, report. Level-triggered.

Nothing here decides by what it did before, only by what is on disk and what the server says; so a
kill at any point costs at most the step under way.
"""

import uuid
from datetime import timedelta

import structlog

from contract.device import DeviceProfile
from contract.report import OutcomeBody, ProfileBody, Report, ReportBatch
from device_agent.absorb import absorb, same_work
from device_agent.backoff import backoff_s, told_wait_s
from device_agent.box import Box
from device_agent.client import Poll
from device_agent.data_check import data_trouble
from device_agent.enrol import own_identity, register, register_again
from device_agent.errors import (
    AgentError,
    DataUnusableError,
    RefusedError,
    RejectedError,
    ServerAwayError,
    ServerBusyError,
    StoppedError,
    SupersededError,
    TokenRefusedError,
)
from device_agent.outbox import BATCH
from device_agent.profile import profile_changed
from device_agent.shelf import Manifest
from device_agent.state import SETTLED, WORKING, BoxState, Step, advance
from device_agent.steps import (
    MOST_ATTEMPTS,
    MOST_STARTS,
    STEPS,
    RejectStep,
    RetryLaterStep,
    RetryStep,
    clear,
    reject,
    still_active,
    told,
    train,
    with_seen_floor,
)
from device_agent.summary import InferenceWindow

log = structlog.get_logger()
_ROUNDS = 12
_TRIES = 4
_PROFILE_EVERY = timedelta(hours=24)
_ATTENTION_S = 10.0
_NEVER_TAKEN = {400, 413, 422}


class Agent:
    """One box. ``window`` gathers what the local endpoint answered."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.state = box.store.load()
        self.window = InferenceWindow(box.world.now())
        self._next_poll_at = 0.0
        self._poll_s = box.settings.poll_s
        self._newer: Poll | None = None
        self._data_trouble: DataUnusableError | None = None

    def run_once(self) -> Step:
        """Go round until the box is what it should be; return the step it settled on.

        Raises RejectedError when the server has nothing better to offer than what failed, and
        DataUnusableError when it could not train because its folder of images cannot be used.
        """
        try:
            step = self._settle()
        except StoppedError:
            raise
        except AgentError as exc:
            if self._data_trouble is None or exc is self._data_trouble:
                raise
            raise self._data_trouble from exc
        if step == "idle" and self._data_trouble is not None:
            raise self._data_trouble
        return step

    def _settle(self) -> Step:
        for _ in range(_ROUNDS):
            before = self._task()
            self._cycle_patiently()
            if self.state.step in SETTLED:
                return self.state.step
            if self._task() == before:
                break
        outcome = self.state.outcome
        reason = outcome.reason if outcome else f"the box is still {self.state.step}"
        message = f"{outcome.status if outcome else 'unsettled'}: {reason}"
        raise RejectedError(message)

    def _task(self) -> tuple[str | None, Step]:
        return (self.state.task_id, self.state.step)

    def _cycle_patiently(self) -> None:
        failures = 0
        while True:
            try:
                return self.cycle()
            except ServerBusyError as exc:
                pause_s = told_wait_s(exc.retry_after_s, self.box.world.chance)
            except (ServerAwayError, RetryStep) as exc:
                failures += 1
                if failures >= _TRIES:
                    raise
                log.warning(exc.name, reason=str(exc), failures=failures)
                pause_s = backoff_s(failures, self.box.world.chance)
            if self.box.world.wait(pause_s):
                raise StoppedError

    def run_forever(self) -> None:
        """Go round until stopped. Trouble is logged, reported where it can be, and waited out."""
        failures = 0
        while not self.box.world.stop.is_set():
            try:
                self.cycle()
                failures = 0
                pause_s = told_wait_s(self._poll_s, self.box.world.chance)
            except ServerBusyError as exc:
                pause_s = told_wait_s(exc.retry_after_s, self.box.world.chance)
            except StoppedError:
                break
            except AgentError as exc:
                failures += 1
                log.warning(exc.name, reason=str(exc), failures=failures)
                pause_s = self._pause_after(exc, failures)
            self.box.world.wait(pause_s)
        self.close()

    def _pause_after(self, exc: AgentError, failures: int) -> float:
        pause_s = backoff_s(failures, self.box.world.chance)
        return pause_s if isinstance(exc, ServerAwayError) else max(pause_s, _ATTENTION_S)

    def close(self) -> None:
        """Keep what was counted in the hour that was cut short."""
        self._roll_window(force=True)

    def cycle(self) -> None:
        """Once round. Reports are sent even when the work failed; the first trouble is raised."""
        if self.box.world.stop.is_set():
            raise StoppedError
        profile = with_seen_floor(self.box.take_profile(), self.state)
        self._note_data(profile)
        self._enrol(profile)
        self._note_profile(profile)
        self._roll_window()
        away = self._listen(profile)
        try:
            self._work()
        except (StoppedError, ServerAwayError, ServerBusyError):
            raise
        except AgentError as exc:
            self.box.event(f"{self.state.task_id}/{self.state.attempts}", exc.name, str(exc))
            self._send_quietly()
            raise
        if away is not None:
            raise away
        self._send()

    def _save(self, state: BoxState) -> None:
        self.box.store.save(state)
        self.state = state
        self.box.world.mark(f"saved {state.step}")

    def _enrol(self, profile: DeviceProfile) -> None:
        identity = self.box.store.identity() or register(self.box, profile)
        identity = own_identity(self.box, identity)
        self.box.client.token = identity.token
        if self.state.step == "new":
            self._save(advance(self.state, "registered"))
        if self.state.step == "enrolled":
            facts = {"profile": profile, "profiled_at": self.box.world.now()}
            self._save(advance(self.state, "profiled", **facts))

    def _enrol_again(self, profile: DeviceProfile, refusal: TokenRefusedError) -> None:
        self.box.client.token = register_again(self.box, profile, refusal).token
        self._save(self.state.model_copy(update={"etag": None}))

    def _note_profile(self, profile: DeviceProfile) -> None:
        now = self.box.world.now()
        then = self.state.profiled_at
        fresh = then is not None and timedelta(0) <= now - then < _PROFILE_EVERY
        if fresh and not profile_changed(self.state.profile, profile):
            return
        self.box.report(f"profile/{uuid.uuid4()}", ProfileBody(profile=profile))
        self._save(self.state.model_copy(update={"profile": profile, "profiled_at": now}))
        self._send_quietly()

    def _listen(self, profile: DeviceProfile) -> AgentError | None:
        """Poll; return the trouble where the server is away, so that known work goes on."""
        try:
            try:
                poll = self._poll()
            except TokenRefusedError as exc:
                self._enrol_again(profile, exc)
                poll = self._poll()
            self._take_in(poll)
        except (ServerAwayError, ServerBusyError) as exc:
            return exc
        return None

    def _poll(self) -> Poll:
        try:
            poll = self.box.client.desired(self.state.etag)
        except SupersededError:
            poll = self.box.client.desired(None)
        self._poll_s = poll.next_poll_s or self.box.settings.poll_s
        self._next_poll_at = self.box.world.monotonic() + self._poll_s
        return poll

    def _take_in(self, poll: Poll) -> None:
        if poll.desired is None:
            return
        active = self.box.shelf.active()
        state = absorb(self.state, poll.desired, poll.etag, active, lambda: str(uuid.uuid4()))
        log.info(
            "told", action=poll.desired.action, generation=poll.desired.generation,
            step=state.step, why=poll.desired.why,
        )  # fmt: skip
        outcome = _at_once(state, active)
        if outcome is not None:
            self.box.report(f"{state.task_id}/outcome", outcome)
            state = state.model_copy(update={"outcome": outcome})
        self._save(state)

    def _work(self) -> None:
        while self.state.step in WORKING:
            try:
                self._save(self._with_newest_orders(self._step()))
                self._heed_late_orders()
            except RejectStep as exc:
                self._save(reject(self.box, self.state, exc))
            except RetryStep as exc:
                self._count_attempt(exc)
                if isinstance(exc, RetryLaterStep) and self.state.step in WORKING:
                    raise
            except StoppedError:
                self._heed_newer_orders()
            except SupersededError:
                self._ask_for_newer_orders()
        if self.state.step in (*SETTLED, "rejected"):
            clear(self.box, self.state)

    def _heed_newer_orders(self) -> None:
        """Take in the orders that stopped the training; raise when a signal did."""
        self._save(self.state.model_copy(update={"starts": self.state.starts - 1}))
        if self._newer is None:
            raise StoppedError
        newer, self._newer = self._newer, None
        self._take_in(newer)

    def _with_newest_orders(self, done: BoxState) -> BoxState:
        """Return what a step returned, under the orders that may have come while it ran."""
        orders = {"desired": self.state.desired, "etag": self.state.etag}
        return done.model_copy(update=orders)

    def _heed_late_orders(self) -> None:
        """Take in other work that was ordered in the moment in which the training ended."""
        newer, self._newer = self._newer, None
        if newer is not None:
            self._take_in(newer)

    def _ask_for_newer_orders(self) -> None:
        before = self.state.task_id
        self._take_in(self.box.client.desired(None))
        if self.state.task_id == before:
            message = "the server calls this work superseded but orders nothing else"
            raise ServerAwayError(message)

    def _step(self) -> BoxState:
        if self.state.step != "fetched":
            return STEPS[self.state.step](self.box, self.state)
        if self.state.starts >= MOST_STARTS:
            message = f"training was begun {MOST_STARTS} times and never ended"
            raise RejectStep("refused", message)
        self._newer = None
        self._save(self.state.model_copy(update={"starts": self.state.starts + 1}))
        return train(self.box, self.state, self._interrupted)

    def _count_attempt(self, exc: RetryStep) -> None:
        attempts = self.state.attempts + 1
        log.warning("attempt_failed", attempts=attempts, reason=str(exc))
        self.box.event(f"{self.state.task_id}/{attempts}", exc.name, str(exc))
        self._save(self.state.model_copy(update={"attempts": attempts}))
        if attempts >= MOST_ATTEMPTS:
            why = RejectStep("refused", f"failed {attempts} times; the last time: {exc}")
            self._save(reject(self.box, self.state, why))

    def _interrupted(self) -> bool:
        """Return whether a signal or newer orders end the training; polls when it is time."""
        if self.box.world.stop.is_set():
            return True
        if self.box.world.monotonic() < self._next_poll_at:
            return False
        self._next_poll_at = self.box.world.monotonic() + self._poll_s
        try:
            self._roll_window()
            poll = self._poll()
        except AgentError as exc:
            log.warning(exc.name, reason=str(exc), during="training")
            return False
        return self._is_newer(poll)

    def _is_newer(self, poll: Poll) -> bool:
        if poll.desired is None:
            return False
        mine = self.state.desired.assignment if self.state.desired else None
        if same_work(mine, poll.desired.assignment):
            self._save(self.state.model_copy(update={"desired": poll.desired, "etag": poll.etag}))
            return False
        self._newer = poll
        return True

    def _note_data(self, profile: DeviceProfile) -> None:
        """Report once that the images cannot be used; the box goes on listening and serving."""
        before, self._data_trouble = self._data_trouble, data_trouble(self.box, profile)
        if self._data_trouble is None or str(before) == str(self._data_trouble):
            return
        log.warning(self._data_trouble.name, reason=str(self._data_trouble))
        self.box.event(str(uuid.uuid4()), self._data_trouble.name, str(self._data_trouble))

    def _roll_window(self, *, force: bool = False) -> None:
        body = self.window.roll(self.box.world.now(), force=force)
        if body is not None:
            self.box.report(f"summary/{uuid.uuid4()}", body)

    def _send(self) -> None:
        """Upload everything, in order; raises what the server makes of it.

        A batch that the server will never take is sent one by one, and the report that it refuses
        is given up: it must not hold up the others for ever.
        """
        limit = BATCH
        while (batch := self.box.outbox.batch(limit)) is not None:
            try:
                self._send_batch(batch)
            except RefusedError as exc:
                if exc.status not in _NEVER_TAKEN:
                    raise
                if len(batch.reports) == 1:
                    self._give_up(batch.reports[0], exc)
                limit = 1

    def _send_batch(self, batch: ReportBatch) -> None:
        keys = [report.key for report in batch.reports]
        self.box.outbox.mark_tried(keys)
        receipts = self.box.client.send(batch)
        self.box.world.mark("reports sent")
        stored = [r.key for r in receipts.receipts if r.key in keys]
        if not stored:
            message = "the server acknowledged none of the reports; they are kept"
            raise ServerAwayError(message)
        self.box.outbox.acknowledge(stored)
        self.box.world.mark("reports acknowledged")

    def _give_up(self, report: Report, exc: RefusedError) -> None:
        log.error("report_refused", key=report.key, kind=report.body.kind, reason=str(exc))
        self.box.outbox.acknowledge([report.key])

    def _send_quietly(self) -> None:
        try:
            self._send()
        except AgentError as exc:
            log.warning(exc.name, reason=str(exc), kept=len(self.box.outbox))


def _at_once(state: BoxState, active: Manifest | None) -> OutcomeBody | None:
    """Return the outcome of orders that need no work; None where there is work to do."""
    if state.step in {"cloud", "idle"}:
        return told(state, "cloud" if state.step == "cloud" else "idle")
    return still_active(state, active) if state.step == "active" and active else None
