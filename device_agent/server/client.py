"""The box's side of the wire. Takes an ``httpx2.Client``; knows routes, caps and what errors mean.

It never retries and never waits: the loop does. Bodies are read raw under a byte cap and a time
limit; a compressed answer is refused, because it was not asked for (a gzip bomb is one).
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from contract.desired import NEXT_POLL_HEADER, DesiredState
from contract.device import Registered, Registration
from contract.inference import Prediction
from contract.problem import Problem
from contract.report import ReportBatch, ReportReceipts
from device_agent.errors import (
    AgentError,
    BadAddressError,
    NonsenseError,
    NotLetInError,
    RefusedError,
    ServerAwayError,
    ServerBusyError,
    SupersededError,
    TokenRefusedError,
)

REGISTER = "/v1/devices/register"
DESIRED = "/v1/device/desired"
REPORTS = "/v1/device/reports"
ARTIFACT = "/v1/artifacts/{sha256}"
INFERENCE = "/v1/inference"

TIMEOUT = httpx2.Timeout(connect=10.0, read=30.0, write=30.0, pool=10.0)
_MOST_BYTES = 4_000_000
_MOST_ERROR_BYTES = 64_000
_MOST_SECONDS = 60.0
_RETRY_AFTER_S = 5.0
_Body = TypeVar("_Body", bound=BaseModel)
_WAIT = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


@dataclass(frozen=True)
class Poll:
    """``desired`` is None when nothing changed (304); ``next_poll_s`` where none is named."""

    desired: DesiredState | None
    etag: str | None
    next_poll_s: float | None


@dataclass(frozen=True)
class Download:
    """A body under way: ``offset`` is where it begins (0 when the server ignored the range)."""

    offset: int
    chunks: Iterator[bytes]


def open_http(server: str, ca_file: str | None = None) -> httpx2.Client:
    """Return the client that a box uses: no redirects, no compression, long enough time-outs."""
    import ssl  # noqa: PLC0415 - only for https

    try:
        verify = ssl.create_default_context(cafile=ca_file) if server.startswith("https") else False
    except OSError as exc:
        message = f"--ca-file {ca_file} cannot be used ({exc.strerror}); name a PEM file"
        raise BadAddressError(message) from exc
    with named_transport_errors():
        return httpx2.Client(
            base_url=server,
            timeout=TIMEOUT,
            verify=verify,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=4, max_keepalive_connections=1),
        )


class ServerClient:
    """One method for each thing that a box says. ``token`` is None until the box is registered.

    ``alive`` is called with every piece of a download.
    """

    def __init__(
        self,
        http: httpx2.Client,
        token: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._http = http
        self._alive = alive
        self._monotonic = monotonic
        self.token = token

    def register(self, registration: Registration, enrol_token: str) -> Registered:
        """Introduce the box; the same serial gets the same id. Raises NotLetInError."""
        content = registration.model_dump_json().encode()
        headers = {"Authorization": f"Bearer {enrol_token}"}
        with self._send("POST", REGISTER, content=content, headers=headers) as response:
            return self._body(response, Registered, "registering")

    def desired(self, etag: str | None) -> Poll:
        """Ask what to be; with ``etag`` the answer may be "no change"."""
        headers = {"If-None-Match": etag} if etag else {}
        with self._send("GET", DESIRED, headers=headers) as response:
            next_poll_s = _seconds(response.headers.get(NEXT_POLL_HEADER))
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                return Poll(None, etag, next_poll_s)
            state = self._body(response, DesiredState, "the poll")
            return Poll(state, response.headers.get("ETag"), next_poll_s)

    def send(self, batch: ReportBatch) -> ReportReceipts:
        """Upload reports; safe to repeat."""
        content = batch.model_dump_json().encode()
        with self._send("POST", REPORTS, content=content) as response:
            return self._body(response, ReportReceipts, "reports")

    def infer(self, image: bytes, media_type: str) -> Prediction:
        """Ask the cloud. The caller has checked that images may leave the box."""
        headers = {"Content-Type": media_type}
        with self._send("POST", INFERENCE, content=image, headers=headers) as response:
            return self._body(response, Prediction, "inference")

    @contextlib.contextmanager
    def artifact(self, sha256: str, offset: int) -> Iterator[Download]:
        """Stream a file from ``offset``; the caller counts and hashes."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        path = ARTIFACT.format(sha256=sha256)
        with self._send("GET", path, headers=headers) as response:
            yield Download(_start_of(response), self._living(_raw(response)))

    def _living(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._alive()
            yield chunk

    @contextlib.contextmanager
    def _send(
        self, method: str, path: str, *, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if content:
            sent.setdefault("Content-Type", "application/json")
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        with (
            named_transport_errors(),
            self._http.stream(method, path, content=content, headers=sent) as response,
        ):
            self._refuse_errors(response, f"{method} {path}")
            yield response

    def _refuse_errors(self, response: httpx2.Response, what: str) -> None:
        status = response.status_code
        if status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.NOT_MODIFIED:
            return
        if status in _WAIT:
            raise ServerBusyError(_seconds(response.headers.get("Retry-After")) or _RETRY_AFTER_S)
        detail = _problem_text(self._read(response, what, _MOST_ERROR_BYTES))
        raise _named(status, what, detail)

    def _body(self, response: httpx2.Response, kind: type[_Body], what: str) -> _Body:
        data = self._read(response, what, _MOST_BYTES)
        try:
            return kind.model_validate_json(data)
        except ValidationError as exc:
            first = exc.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise NonsenseError(what, f"{where}: {first['msg']}"[:300]) from exc

    def _read(self, response: httpx2.Response, what: str, most_bytes: int) -> bytes:
        deadline = self._monotonic() + _MOST_SECONDS
        data = bytearray()
        for chunk in _raw(response):
            data += chunk
            if len(data) > most_bytes:
                raise NonsenseError(what, f"longer than {most_bytes} bytes")
            if self._monotonic() > deadline:
                message = f"the server took over {_MOST_SECONDS:g} s to answer {what}"
                raise ServerAwayError(message)
        return bytes(data)


@contextlib.contextmanager
def named_transport_errors() -> Iterator[None]:
    """Turn what httpx raises into the agent's own errors."""
    try:
        yield
    except httpx2.TimeoutException as exc:
        message = "the server did not answer in time; the agent will call again"
        raise ServerAwayError(message) from exc
    except (httpx2.InvalidURL, UnicodeEncodeError) as exc:
        message = f"--server or the token has characters that cannot be sent ({exc}); check both"
        raise BadAddressError(message) from exc
    except (httpx2.RequestError, httpx2.StreamError) as exc:
        message = f"the server cannot be reached ({exc}); check --server and the network"
        raise ServerAwayError(message) from exc


def _raw(response: httpx2.Response) -> Iterator[bytes]:
    coding = response.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise NonsenseError(
            "the request", f"compressed with {coding[:40]}, which was not asked for"
        )
    return _named_chunks(response)


def _named_chunks(response: httpx2.Response) -> Iterator[bytes]:
    with named_transport_errors():
        yield from response.iter_raw()


def _start_of(response: httpx2.Response) -> int:
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", ""))
    if match is None:
        raise NonsenseError("the download", "a partial answer that does not say which part")
    return int(match[1])


def _named(status: int, what: str, detail: str) -> AgentError:
    if status == HTTPStatus.UNAUTHORIZED:
        return TokenRefusedError(
            f"the server does not let this box in: {detail} "
            "(Ask an operator whether it was revoked, or for a new enrolment token.)"
        )
    if status == HTTPStatus.FORBIDDEN:
        return NotLetInError(f"the server forbids this box {what}: {detail}")
    if status == HTTPStatus.GONE:
        return SupersededError(f"the server has newer plans for this box: {detail}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerAwayError(
            f"the server failed on {what} (HTTP {status}); it will be called again"
        )
    if status < HTTPStatus.BAD_REQUEST:
        return NonsenseError(what, f"a redirect (HTTP {status}); name the final address")
    return RefusedError(what, status, detail)


def _problem_text(data: bytes) -> str:
    try:
        problem = Problem.model_validate_json(data)
    except ValidationError:
        return "no reason given"
    fields = "; ".join(f"{e.field}: {e.message}" for e in problem.errors[:5])
    return f"{problem.detail} {fields}".strip()[:600]


def _seconds(text: str | None) -> float | None:
    """Parse a header in seconds; HTTP dates are not used by our server and count as absent."""
    if text is None or not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text.strip()):
        return None
    return float(text)
