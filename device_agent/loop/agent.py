"""The loop: enrol, say what the box is, ask what to be, become it, report. Level-triggered.

Nothing here decides by what it did before, only by what is on disk and what the server says; so a
kill at any point costs at most the step under way.
"""

import uuid

import structlog

from contract.device import DeviceProfile
from contract.report import OutcomeBody, ProfileBody
from device_agent.cloud.calibration_watch import watch_calibration
from device_agent.cloud.summary import InferenceWindow
from device_agent.disk.paths import note_heard
from device_agent.disk.rollback_request import drop_request, has_request, read_request
from device_agent.disk.shelf import Manifest
from device_agent.errors import (
    AgentError,
    DataUnusableError,
    RejectedError,
    ServerAwayError,
    ServerBusyError,
    StoppedError,
    SupersededError,
    TokenRefusedError,
)
from device_agent.loop.absorb import absorb, same_work
from device_agent.loop.again import begin_again, closed_reason, put_off, training_noted, with_drift
from device_agent.loop.backoff import backoff_s, busy_wait_s, told_wait_s
from device_agent.loop.box import Box
from device_agent.loop.data_check import data_trouble
from device_agent.loop.rollback import obey
from device_agent.loop.state import SETTLED, WORKING, BoxState, Step, advance
from device_agent.loop.steps import (
    MOST_ATTEMPTS,
    MOST_STARTS,
    STEPS,
    DeferredError,
    RejectStep,
    RetryLaterStep,
    RetryStep,
    clear,
    reject,
    still_active,
    told,
    with_seen_floor,
)
from device_agent.loop.train_step import train
from device_agent.machine.profile import profile_changed
from device_agent.server.client import Poll
from device_agent.server.enrol import own_identity, register, register_again
from device_agent.server.sending import BATCHES_A_ROUND, send_all, send_quietly

log = structlog.get_logger()
_ROUNDS = 12
_TRIES = 4
_PROFILE_EVERY_S = 24 * 3600.0
_ATTENTION_S = 10.0


class Agent:
    """One box. ``window`` gathers what the local endpoint answered."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.state = box.store.load()
        self.window = InferenceWindow(box.world.now())
        self._next_poll_at = 0.0
        self._profiled_at_s = box.world.monotonic()
        self._poll_s = box.settings.poll_s
        self._newer: Poll | None = None
        self._most_batches: int | None = None
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
        if self.state.put_off is not None:
            raise DeferredError(self.state.put_off)
        outcome = self.state.outcome
        reason = outcome.reason if outcome else f"the box is still {self.state.step}"
        message = f"{outcome.status if outcome else 'unsettled'}: {reason}"
        raise RejectedError(message)

    def _task(self) -> tuple[str | None, Step]:
        return (self.state.task_id, self.state.step)

    def _cycle_patiently(self) -> None:
        failures = turned_away = 0
        while True:
            try:
                return self.cycle()
            except ServerBusyError as exc:
                turned_away += 1
                pause_s = busy_wait_s(exc.retry_after_s, turned_away, self.box.world.chance)
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
        failures = turned_away = 0
        self._most_batches = BATCHES_A_ROUND
        while not self.box.world.stop.is_set():
            try:
                self.cycle()
                failures = turned_away = 0
                pause_s = told_wait_s(self._poll_s, self.box.world.chance)
            except ServerBusyError as exc:
                turned_away += 1
                pause_s = busy_wait_s(exc.retry_after_s, turned_away, self.box.world.chance)
            except StoppedError:
                break
            except AgentError as exc:
                failures += 1
                log.warning(exc.name, reason=str(exc), failures=failures)
                pause_s = self._pause_after(exc, failures)
            self.box.world.wait(pause_s)
        self.close()

    def _pause_after(self, exc: AgentError, failures: int) -> float:
        pause_s = backoff_s(failures, self.box.world.chance, pace_s=self._poll_s)
        return pause_s if isinstance(exc, ServerAwayError) else max(pause_s, _ATTENTION_S)

    def close(self) -> None:
        """Keep what was counted in the hour that was cut short."""
        self._roll_window(force=True)

    def cycle(self) -> None:
        """Once round. Reports are sent even when the work failed; the first trouble is raised."""
        if self.box.world.stop.is_set():
            raise StoppedError
        self._heed_request()
        profile = with_seen_floor(self.box.take_profile(), self.state)
        self._note_data(profile)
        self._enrol(profile)
        self._note_profile(profile)
        self._roll_window()
        away = self._listen(profile)
        self.state = begin_again(self.box, self.state, profile)
        try:
            self._work()
        except (StoppedError, ServerAwayError, ServerBusyError):
            raise
        except AgentError as exc:
            self.box.event(f"{self.state.task_id}/{self.state.attempts}", exc.name, str(exc))
            self._send_quietly()
            raise
        watch_calibration(self.box, self.state.desired, self.window)
        if away is not None:
            raise away
        self._send()

    def _save(self, state: BoxState) -> None:
        self.box.store.save(state)
        self.state = state
        self.box.world.mark(f"saved {state.step}")

    def _heed_request(self) -> None:
        """Enter a rollback that was asked for into links, reports and state; needs no network."""
        if not has_request(self.box.paths):
            return
        request = read_request(self.box.paths)
        if request is not None:
            done = obey(request, self.state, self.box.shelf)
            self.box.world.mark("rollback switched")
            for name, body in done.reports:
                self.box.report(name, body)
            self._save(done.state)
        drop_request(self.box.paths, request)
        self.box.world.mark("rollback done")

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
        """Report the profile when it has changed, and once a day by the clock that never jumps."""
        spent_s = self.box.world.monotonic() - self._profiled_at_s
        if spent_s < _PROFILE_EVERY_S and not profile_changed(self.state.profile, profile):
            return
        self._profiled_at_s = self.box.world.monotonic()
        self.box.report(f"profile/{uuid.uuid4()}", ProfileBody(profile=profile))
        facts = {"profile": profile, "profiled_at": self.box.world.now()}
        self._save(self.state.model_copy(update=facts))
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
        note_heard(self.box.paths)
        self._poll_s = poll.next_poll_s or self.box.settings.poll_s
        self._next_poll_at = self.box.world.monotonic() + self._poll_s
        return poll

    def _take_in(self, poll: Poll) -> None:
        if poll.desired is None:
            return
        active = self.box.shelf.whole_active()
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
        while self._may_work():
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

    def _may_work(self) -> bool:
        """Return whether there is work that neither the line nor the policy puts off."""
        self._heed_request()
        if self.state.step not in WORKING:
            return False
        self.state = put_off(self.box, self.state)
        return self.state.put_off is None

    def _heed_newer_orders(self) -> None:
        """Take in the orders that stopped the training; raise when a signal did."""
        self._save(self.state.model_copy(update={"starts": self.state.starts - 1}))
        if self._newer is None:
            if self.box.world.stop.is_set() or not self._is_called_off():
                raise StoppedError
            return
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
        if self.state.step != "verified":
            return STEPS[self.state.step](self.box, self.state)
        if self.state.starts >= MOST_STARTS:
            message = f"training was begun {MOST_STARTS} times and never ended"
            raise RejectStep("refused", message)
        self._newer = None
        noted = training_noted(self.box, self.state.profile)
        self._save(self.state.model_copy(update={"starts": self.state.starts + 1, **noted}))
        try:
            return train(self.box, self.state, self._interrupted)
        except DeferredError:
            self._save(self.state.model_copy(update={"starts": self.state.starts - 1}))
            raise

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
        self.box.world.alive()
        if self.box.world.stop.is_set() or self._is_called_off():
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

    def _is_called_off(self) -> bool:
        return has_request(self.box.paths) or closed_reason(self.box, self.state) is not None

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
        watch_calibration(self.box, self.state.desired, self.window)
        body = self.window.roll(self.box.world.now(), force=force)
        if body is not None:
            self.box.report(f"summary/{uuid.uuid4()}", body)
            self.state = with_drift(self.box, self.state, body)

    def _send(self) -> None:
        send_all(self.box, self._most_batches)

    def _send_quietly(self) -> None:
        send_quietly(self.box, self._most_batches)


def _at_once(state: BoxState, active: Manifest | None) -> OutcomeBody | None:
    """Return the outcome of orders that need no work; None where there is work to do."""
    if state.step in {"cloud", "idle"}:
        return told(state, "cloud" if state.step == "cloud" else "idle")
    return still_active(state, active) if state.step == "active" and active else None
