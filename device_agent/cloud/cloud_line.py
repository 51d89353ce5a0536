"""The way to the cloud: one open client, a deadline for the whole question, a circuit breaker.

The time-outs of an HTTP client bound each operation, not their sum, and nothing bounds a name
look-up; so a question runs in a thread of its own and the caller waits no longer than the deadline.
What comes later is thrown away. A dead server costs one deadline once: afterwards the breaker says
no at once, and its probe waits only where there is no answer without the cloud.
"""

import threading
import time
from collections.abc import Callable
from random import Random
from typing import Protocol

import httpx2

from contract.inference import Prediction
from device_agent.cloud.breaker import Breaker, Permit
from device_agent.errors import (
    AgentError,
    NotLetInError,
    RefusedError,
    ServerAwayError,
    ServerBusyError,
)
from device_agent.loop.state import StateStore
from device_agent.server.client import ServerClient, open_http
from device_agent.serving.images import for_the_cloud

_ABOUT_THE_IMAGE = {413, 415, 422}
_MOST_UNANSWERED = 4


class CloudRestsError(AgentError):
    """The cloud failed a short while ago, or is being tried; it was not asked again."""

    name = "cloud_rests"


class Send(Protocol):
    """Sends an image and its media type; each operation may take ``timeout_s``."""

    def __call__(self, image: bytes, media_type: str, timeout_s: float) -> Prediction: ...

    def close(self) -> None: ...


class CloudLine:
    """Thread-safe. ``send`` may take as long as it likes: the caller is answered in time."""

    def __init__(
        self, send: Send, breaker: Breaker, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._breaker = breaker
        self._monotonic = monotonic
        self._unanswered = threading.BoundedSemaphore(_MOST_UNANSWERED)

    def __call__(self, image: bytes, *, deadline_s: float, patient: bool) -> Prediction:
        """Return the cloud's answer, or raise an AgentError within ``deadline_s``.

        Without ``patient`` (there is an answer without the cloud) a probe is not waited for.
        """
        started_s = self._monotonic()
        body, media_type = for_the_cloud(image)
        permit = self._breaker.admit(deadline_s)
        if permit is None:
            rests_s = self._breaker.rests_s()
            raise CloudRestsError(f"it failed a short while ago and rests for {rests_s:.0f} s")
        question = _Question(self._breaker, permit, deadline_s)

        def ask() -> None:
            try:
                outcome: Prediction | Exception = self._send(body, media_type, deadline_s)
            except Exception as exc:  # noqa: BLE001 - handed over to whoever waits
                outcome = exc
            self._unanswered.release()
            question.end(outcome, left_s=deadline_s - (self._monotonic() - started_s))

        if self._unanswered.acquire(blocking=False):
            threading.Thread(target=ask, name="cloud", daemon=True).start()
        else:
            question.end(ServerAwayError("it has not answered earlier questions yet"))
        if permit.probe and not patient:
            raise CloudRestsError("it failed a short while ago and is being tried again")
        return question.wait(deadline_s - (self._monotonic() - started_s))

    def close(self) -> None:
        """Close the connection; a later question opens another."""
        self._send.close()


class _Question:
    """One question under way. Who ends it first decides: the answer or the deadline."""

    def __init__(self, breaker: Breaker, permit: Permit, deadline_s: float) -> None:
        self._breaker = breaker
        self._permit = permit
        self._late = ServerAwayError(f"no answer within {deadline_s * 1000:g} ms")
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._outcome: Prediction | Exception = self._late

    def wait(self, left_s: float) -> Prediction:
        if not self._ended.wait(max(left_s, 0.0)):
            self.end(self._late)
        if isinstance(self._outcome, Prediction):
            return self._outcome
        raise self._outcome

    def end(self, outcome: Prediction | Exception, left_s: float = 0.0) -> None:
        """Settle it, once; an answer that came when no time was left is none."""
        with self._lock:
            if self._ended.is_set():
                return
            self._outcome = self._late if left_s < 0 else outcome
            self._tell(self._outcome)
            self._ended.set()

    def _tell(self, outcome: Prediction | Exception) -> None:
        if isinstance(outcome, ServerBusyError):
            self._breaker.failed(self._permit, outcome.retry_after_s)
        elif isinstance(outcome, Prediction) or is_about_the_image(outcome):
            self._breaker.succeeded(self._permit)
        else:
            self._breaker.failed(self._permit)


def is_about_the_image(trouble: Exception) -> bool:
    """Return whether the server is well and only this image was refused."""
    return isinstance(trouble, RefusedError) and trouble.status in _ABOUT_THE_IMAGE


class Connection:
    """One HTTP client, kept open from image to image, made anew when the box moves house."""

    def __init__(self, store: StateStore, ca_file: str | None) -> None:
        self._store = store
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._server = ""
        self._http: httpx2.Client | None = None

    def __call__(self, image: bytes, media_type: str, timeout_s: float) -> Prediction:
        """Send; raises AgentError."""
        identity = self._store.identity()
        if identity is None:
            raise NotLetInError("this box is not enrolled; run `device_agent run` first")
        http = self._client(identity.server)
        http.timeout = httpx2.Timeout(timeout_s)
        return ServerClient(http, identity.token).infer(image, media_type)

    def _client(self, server: str) -> httpx2.Client:
        with self._lock:
            if self._http is None or self._server != server:
                self._close()
                self._http, self._server = open_http(server, self._ca_file), server
            return self._http

    def close(self) -> None:
        """Close the client; a later question opens another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None


def open_line(store: StateStore, ca_file: str | None) -> CloudLine:
    """Return the way to the server that the box is enrolled with."""
    breaker = Breaker(time.monotonic, Random())  # noqa: S311 - jitter
    return CloudLine(Connection(store, ca_file), breaker)
