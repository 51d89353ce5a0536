"""Checks of the way to the server: address, certificate, clock, token, last answer."""

import shlex
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx2

from device_agent.doctor.finding import Finding, Patient, fail, ok, skip, warn
from device_agent.errors import AgentError
from device_agent.server.client import DESIRED, open_http

_SKEW_S = 120.0
_TIMEOUT_S = 10.0
_SILENT_POLLS = 10
_SILENT_S = 3600.0
_NOT_OURS = {
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_TROUBLES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "TLS failed: the server does not speak it there, or not as this box does"),
    (socket.gaierror, "its name is not known here"),
    (ConnectionRefusedError, "it refuses connections: wrong port, or no server runs"),
    (httpx2.TimeoutException, f"no answer within {_TIMEOUT_S:g} s"),
    (FileNotFoundError, "the file of --ca-file is not there"),
)


@dataclass(frozen=True)
class Answer:
    """What a poll brought: a status and a date, or what stood in its way."""

    status: int | None = None
    date: datetime | None = None
    trouble: str | None = None
    mend: str = ""


def check_server(patient: Patient) -> list[Finding]:
    """Ask the server once; say whether it answers, keeps our time, and lets this box in."""
    settings = patient.settings
    if not settings.server:
        mend = "device_agent enrol --server https://fleet.example --enrol-token TOKEN"
        return [fail("server", "no server is named", mend)]
    if patient.offline:
        return [skip("server", "not asked: --offline")]
    identity = patient.identity()
    ours = identity is not None and identity.server == settings.server
    answer = ask(patient, identity.token if identity and ours else None)
    if answer.trouble is not None:
        return [fail("server", answer.trouble, answer.mend)]
    return [_reached(patient, answer), _clock(patient, answer), *_token(answer, ours=ours)]


def ask(patient: Patient, token: str | None) -> Answer:
    """Poll once, with the box's token where it may be shown to this server."""
    settings = patient.settings
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = shlex.quote(settings.server)
    try:
        ca_file = str(settings.ca_file) if settings.ca_file else None
        with (
            open_http(settings.server, ca_file) as http,
            http.stream("GET", DESIRED, headers=headers, timeout=_TIMEOUT_S) as response,
        ):
            return Answer(response.status_code, _date(response.headers.get("Date")))
    except (httpx2.HTTPError, httpx2.InvalidURL, AgentError, OSError) as exc:
        return Answer(trouble=f"{settings.server}: {name_trouble(exc)}", mend=_mend(exc, address))


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = exc
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def name_trouble(exc: BaseException) -> str:
    """Say in plain words why no answer came."""
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        for kind, words in _TROUBLES:
            if isinstance(cause, kind):
                return words
    return f"it cannot be reached: {exc}"


def _mend(exc: BaseException, address: str) -> str:
    tls = (ssl.SSLError, FileNotFoundError)
    if any(isinstance(cause, tls) for cause in _causes(exc)):
        return "device_agent run --ca-file ca.pem"
    return f"curl --verbose {address}"


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


def _reached(patient: Patient, answer: Answer) -> Finding:
    server = patient.settings.server
    status = answer.status or 0
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_OURS:
        found = f"{server} answers {status}: no Paretofleet server, or one in trouble"
        return fail("server", found, f"curl --verbose {shlex.quote(server)}/docs")
    parts = urlsplit(server)
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        found = f"{server} answers, but without TLS: anyone on the way can read the token"
        return warn("server", found, f"device_agent run --server https://{parts.netloc}")
    return ok("server", f"{server} answers")


def _clock(patient: Patient, answer: Answer) -> Finding:
    if answer.date is None:
        return skip("clock", "the server says no time")
    skew_s = (patient.now() - answer.date).total_seconds()
    if abs(skew_s) > _SKEW_S:
        found = (
            f"this box is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the server"
        )
        return warn("clock", found, "sudo timedatectl set-ntp true")
    return ok("clock", f"within {abs(skew_s):.0f} s of the server's")


def _token(answer: Answer, *, ours: bool) -> list[Finding]:
    mend = "device_agent enrol --enrol-token TOKEN"
    if not ours:
        return []
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        found = "the server no longer accepts this box's token: it was revoked or has expired"
        return [fail("token", found, mend)]
    if answer.status in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED, HTTPStatus.GONE}:
        return [ok("token", "accepted")]
    return [skip("token", f"not told: the server answers {answer.status}")]


def check_enrolled(patient: Patient) -> Finding:
    """Check that the box is enrolled, at the server that its settings name."""
    server = patient.settings.server
    named = shlex.quote(server or "https://fleet.example")
    identity = patient.identity()
    if identity is None:
        mend = f"device_agent enrol --server {named} --enrol-token TOKEN"
        return fail("enrolled", "this box is not enrolled", mend)
    if server and identity.server != server:
        found = f"this box belongs to {identity.server}, the settings name {server}"
        return fail("enrolled", found, f"device_agent run --server {shlex.quote(identity.server)}")
    return ok("enrolled", f"as {identity.device_id} at {identity.server}")


def check_heard(patient: Patient) -> Finding:
    """Check that the server was heard not long ago."""
    try:
        heard_s = patient.paths.heard.stat().st_mtime
    except OSError:
        return skip("last answer", "no poll was answered yet")
    ago_s = patient.now().timestamp() - heard_s
    if ago_s > max(_SILENT_S, _SILENT_POLLS * patient.settings.poll_s):
        found = f"the last answered poll was {ago_s / 3600:.1f} hours ago"
        return warn("last answer", found, "device_agent once")
    return ok("last answer", f"{max(ago_s, 0):.0f} s ago")
