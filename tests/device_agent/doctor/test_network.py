"""The checks of the way to the server: closed ports, certificates, clocks, tokens, all real."""

import os
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from device_agent.doctor import network
from device_agent.doctor.finding import Patient
from device_agent.doctor.network import check_enrolled, check_heard, check_server, name_trouble
from device_agent.loop.state import Identity, StateStore
from tests.device_agent.fleet import DEVICE_TOKEN, answer_json
from tests.device_agent.mending import assert_can_be_given
from tests.device_agent.relay import served


@pytest.fixture
def patient(settings):
    """Return the box as enrolled with a server (or not), its settings naming ``server``."""

    def admitted(server, *, enrolled_at="", **changes):
        named = settings.model_copy(update={"server": server, **changes.pop("settings", {})})
        made = Patient(settings=named, **changes)
        if enrolled_at:
            made.paths.make()
            identity = Identity(device_id="box-1", token=DEVICE_TOKEN, server=enrolled_at)
            StateStore(made.paths).save_identity(identity)
        return made

    return admitted


def by_check(findings):
    for finding in findings:
        if finding.mend:
            assert_can_be_given(finding.mend)
    return {finding.check: finding for finding in findings}


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_answers_and_accepts_is_in_order(patient, fleet):
    with served(fleet) as server:
        findings = by_check(check_server(patient(server, enrolled_at=server)))

    assert {name: f.level for name, f in findings.items()} == {
        "server": "ok", "clock": "ok", "token": "ok"
    }  # fmt: skip


def test_a_closed_port_is_named(patient):
    findings = by_check(check_server(patient(f"http://127.0.0.1:{closed_port()}")))

    assert findings["server"].level == "fail"
    assert "refuses connections" in findings["server"].found


def test_a_name_that_is_not_known_is_named():
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("a name with blanks", 80)

    assert name_trouble(caught.value) == "its name is not known here"
    assert "boom" in name_trouble(RuntimeError("boom"))


def test_no_server_and_no_network_are_told_apart(patient):
    assert by_check(check_server(patient("")))["server"].level == "fail"
    assert by_check(check_server(patient("http://x", offline=True)))["server"].level == "skip"


@pytest.mark.parametrize("ahead_s", [-4000, 4000])
def test_a_clock_that_is_wrong_is_found(patient, fleet, ahead_s):
    with served(fleet, clock_ahead_s=ahead_s) as server:
        findings = by_check(check_server(patient(server)))

    assert findings["clock"].level == "warn"
    assert ("behind" if ahead_s > 0 else "ahead of") in findings["clock"].found


def test_a_token_that_is_no_longer_accepted_is_found(patient, fleet):
    fleet.accept_token = False
    with served(fleet) as server:
        findings = by_check(check_server(patient(server, enrolled_at=server)))

    assert findings["token"].level == "fail"
    assert "enrol" in findings["token"].mend
    assert findings["server"].level == "ok"


def test_the_token_is_not_shown_to_another_server(patient, fleet):
    seen = []
    handle = fleet.handle_request
    fleet.handle_request = lambda request: (
        seen.append(request.headers.get("Authorization")) or handle(request)
    )
    with served(fleet) as server:
        check_server(patient(server, enrolled_at="http://another:1"))
        check_server(patient(server, enrolled_at=server))

    assert seen == [None, f"Bearer {DEVICE_TOKEN}"]


@pytest.mark.parametrize(("status", "level"), [(404, "fail"), (302, "fail"), (500, "fail"),
                                               (429, "ok")])  # fmt: skip
def test_something_else_behind_the_address_is_found(patient, fleet, status, level):
    fleet.broken = answer_json(status, {})
    with served(fleet) as server:
        findings = by_check(check_server(patient(server, enrolled_at=server)))

    assert findings["server"].level == level
    assert findings["token"].level == "skip"


def test_plain_http_to_another_machine_is_a_doubt(patient, fleet, monkeypatch):
    monkeypatch.setattr(network, "_LOCAL", set())
    with served(fleet) as server:
        findings = by_check(check_server(patient(server)))

    assert findings["server"].level == "warn"
    assert "--server https://127.0.0.1" in findings["server"].mend


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", str(path), "-out", str(path) + ".crt", "-days", "2", "-subj", "/CN=fleet",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    crt = path.with_name(path.name + ".crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, path)
    return crt, context


def test_a_certificate_that_is_not_trusted_is_named_and_trusting_it_mends(
    patient, fleet, certificate
):
    crt, context = certificate
    with served(fleet, tls=context) as server:
        unknown = by_check(check_server(patient(server)))
        trusted = by_check(check_server(patient(server, settings={"ca_file": crt})))

    assert unknown["server"].level == "fail"
    assert "certificate is not trusted" in unknown["server"].found
    assert "--ca-file" in unknown["server"].mend
    assert trusted["server"].level == "ok"


def test_tls_to_a_server_without_it_is_named(patient, fleet):
    with served(fleet) as server:
        findings = by_check(check_server(patient(server.replace("http:", "https:"))))

    assert findings["server"].level == "fail"
    assert "TLS" in findings["server"].found


def test_a_missing_authority_is_named(patient, tmp_path):
    away = {"ca_file": tmp_path / "none.pem"}
    findings = by_check(check_server(patient("https://127.0.0.1:9", settings=away)))

    assert "--ca-file is not there" in findings["server"].found


def test_a_box_of_another_server_is_found(patient):
    here, there = "http://here:1", "http://there:2"
    assert check_enrolled(patient(here, enrolled_at=here)).level == "ok"
    stray = check_enrolled(patient(here, enrolled_at=there))
    assert stray.level == "fail"
    assert there in stray.mend
    assert_can_be_given(stray.mend)


def test_a_box_that_never_enrolled_is_found(patient):
    for server in ("http://x", ""):
        finding = check_enrolled(patient(server))
        assert finding.level == "fail"
        assert_can_be_given(finding.mend)


@pytest.mark.usefixtures("stopped_box")
def test_a_long_silence_is_found(patient):
    made = patient("http://fleet.test")
    assert check_heard(made).level == "ok"
    late = patient("http://x", now=lambda: datetime.now(UTC) + timedelta(hours=5))
    finding = check_heard(late)
    assert finding.level == "warn"
    assert "5.0 hours" in finding.found
    assert_can_be_given(finding.mend)
    slow = {"poll_s": 86_400.0}
    assert check_heard(patient("x", now=late.now, settings=slow)).level == "ok"
    os.unlink(made.paths.heard)  # noqa: PTH108 - the file and nothing else
    assert check_heard(made).level == "skip"
