"""Runs every check, one by one: one that breaks is a finding of its own."""

from collections.abc import Callable, Iterator, Sequence

from device_agent.display import Advance
from device_agent.doctor import folder, machine, model, network, program
from device_agent.doctor.finding import Finding, Patient, fail

Check = Callable[[Patient], Finding | list[Finding]]
CHECKS: tuple[Check, ...] = (
    program.check_python,
    program.check_packages,
    program.check_runtime,
    program.check_settings,
    program.check_secrets,
    folder.check_folder,
    folder.check_disk,
    folder.check_identity_file,
    folder.check_state_file,
    folder.check_outbox,
    folder.check_leftovers,
    model.check_active,
    model.check_previous,
    network.check_enrolled,
    network.check_server,
    network.check_heard,
    machine.check_caps,
    machine.check_room,
    machine.check_swap,
    machine.check_images,
    machine.check_port,
    machine.check_hook,
    machine.check_service,
)


def examine(
    patient: Patient, advance: Advance = lambda _: None, checks: Sequence[Check] = CHECKS
) -> list[Finding]:
    """Return every finding, in the order of the checks, with secrets masked."""
    secrets = secrets_of(patient)
    findings = []
    for check in checks:
        findings += [masked(finding, secrets) for finding in _tried(check, patient)]
        advance(1)
    return findings


def _tried(check: Check, patient: Patient) -> list[Finding]:
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        found = check(patient)
    except Exception as exc:  # noqa: BLE001 - one check that breaks must not hide the others
        text = f"the check itself broke: {type(exc).__name__}: {exc}"
        return [fail(name, text, "device_agent doctor --json")]
    return found if isinstance(found, list) else [found]


def secrets_of(patient: Patient) -> tuple[str, ...]:
    """Return what must never be printed."""
    identity = patient.identity()
    given = patient.settings.enrol_token
    known = (identity.token if identity else "", given.get_secret_value() if given else "")
    return tuple(secret for secret in known if secret)


def masked(finding: Finding, secrets: Sequence[str]) -> Finding:
    """Return the finding without a secret in its words."""
    found, mend = finding.found, finding.mend
    for secret in secrets:
        found = found.replace(secret, "***")
        mend = None if mend is None else mend.replace(secret, "***")
    return Finding(finding.check, finding.level, found, mend)


def lines_of(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings as people read them, and a line that counts them."""
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        yield f"{finding.level.upper():4}  {finding.check:{width}}  {finding.found}"
        if finding.mend is not None:
            yield f"{'':4}  {'':{width}}  mend: {finding.mend}"
    counts = {level: sum(f.level == level for f in findings) for level in ("ok", "warn", "fail")}
    yield f"{counts['fail']} wrong, {counts['warn']} doubtful, {counts['ok']} in order"
