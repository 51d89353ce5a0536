"""Checks of the machine: memory, swap, images, port, hook, service."""

import contextlib
import http.client
import shlex
import socket
from pathlib import Path

import psutil

from device_agent.doctor.finding import Finding, Patient, fail, ok, skip, warn
from device_agent.doctor.folder import holder_of
from device_agent.errors import AgentError, DataUnusableError, ServiceError
from device_agent.loop.ready import hook_trouble
from device_agent.machine.profile import CLASSES, Probed, count_images
from device_agent.service.service import look, sandbox_of
from device_agent.service.unit import UNIT_FILE, UNIT_NAME
from device_agent.sizes import format_size
from device_agent.training.cap_probe import probe_cap_kinds
from device_agent.training.caps import RLIMIT
from device_agent.training.cgroup import cgroup_limit_bytes

_ROOM_BYTES = 20_000_000
_STEP_BYTES = 10_000_000
_FEW = 20
_SANDBOX = {"NoNewPrivileges": "yes", "ProtectSystem": "strict", "MemoryDenyWriteExecute": "yes"}


def check_caps(patient: Patient) -> Finding:
    """Check which kinds of memory cap hold a trainer here, by trying."""
    kinds = probe_cap_kinds(patient.machine.root)
    said = ", ".join(kinds)
    if kinds[0] == RLIMIT:
        found = f"{said}: no control group can be made, so the kernel's own cap is missing"
        return warn("memory cap", found, "device_agent service install")
    return ok("memory cap", said)


def check_room(patient: Patient) -> Finding:
    """Check that the cap leaves a trainer room above what the runtime takes before any work."""
    settings = patient.settings
    limits = (settings.ram_cap, cgroup_limit_bytes(patient.machine.root))
    known = [limit for limit in limits if limit is not None]
    floor_bytes = _floor(patient)
    if not known:
        return ok("memory", f"no cap; {format_size(psutil.virtual_memory().available)} free")
    if floor_bytes is None:
        return skip("memory", "the runtime's floor is not measured yet")
    needed = floor_bytes + settings.allowance_bytes + _ROOM_BYTES
    said = (
        f"a cap of {format_size(min(known))}; the agent takes "
        f"{format_size(settings.allowance_bytes)}, the runtime {format_size(floor_bytes)}"
    )
    if min(known) < needed:
        more = -(-needed // _STEP_BYTES) * _STEP_BYTES
        mend = f"device_agent run --ram-cap {more // 1_000_000}MB"
        return fail("memory", f"{said}: no plan can fit", mend)
    return ok("memory", f"{said}: {format_size(min(known) - needed + _ROOM_BYTES)} for training")


def _floor(patient: Patient) -> int | None:
    """Return the floor that the agent has measured, else one measured now; nothing is kept."""
    with contextlib.suppress(OSError, ValueError):
        known = Probed.model_validate_json(patient.paths.probe.read_bytes())
        return known.runtime_floor_bytes
    with contextlib.suppress(AgentError, KeyError):
        return int(patient.probe()["runtime_floor_bytes"])
    return None


def check_swap(patient: Patient) -> Finding:
    """Check for swap: swapped memory evades a watchdog that looks at resident memory."""
    swap_bytes = psutil.swap_memory().total
    if swap_bytes == 0:
        return ok("swap", "none")
    if probe_cap_kinds(patient.machine.root)[0] != RLIMIT:
        return ok("swap", f"{format_size(swap_bytes)}; the control group bounds it")
    found = f"{format_size(swap_bytes)}: a trainer could be swapped out past its cap"
    return warn("swap", found, "sudo swapoff --all")


def check_images(patient: Patient) -> Finding:
    """Check that the folder of images has some of every class."""
    data = patient.settings.data
    if data is None:
        found = "no folder is named: the box can serve but not train"
        return warn("images", found, "device_agent run --data images")
    try:
        counts = dict(zip(CLASSES, count_images(data), strict=True))
    except DataUnusableError as exc:
        return fail("images", str(exc), "device_agent run --data images")
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    empty = [name for name, count in counts.items() if count == 0]
    mend = f"device_agent check {shlex.quote(str(data))}"
    if empty:
        found = f"{data} holds {said}: none of {' and '.join(empty)}"
        return fail("images", found, mend)
    if min(counts.values()) < _FEW:
        return warn("images", f"{data} holds {said}: few to judge by", mend)
    return ok("images", f"{data} holds {said}")


def check_port(patient: Patient) -> Finding:
    """Check that the port for local predictions is free, or our own agent's."""
    port = patient.settings.serve_port
    if not port:
        return skip("serve port", "not asked for")
    if answers_as_agent(port):
        return ok("serve port", f"{port}: an agent serves there")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            found = f"{port} cannot be served: {exc.strerror}"
            return fail("serve port", found, f"device_agent run --serve-port {_other(port)}")
    if holder_of(patient.paths.root / "agent.lock", patient.machine.root) is not None:
        found = f"an agent runs, but not on port {port}"
        return warn("serve port", found, f"sudo systemctl restart {UNIT_NAME}")
    return ok("serve port", f"{port} is free")


def _other(port: int) -> int:
    return port + 1 if port < 65_535 else port - 1  # noqa: PLR2004 - the last port


def answers_as_agent(port: int) -> bool:
    """Return whether an agent's local endpoint answers on a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return b'"status"' in connection.getresponse().read(1000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check_hook(patient: Patient) -> Finding:
    """Check that the program that is asked before a training can be run; it is not run."""
    hook: Path | None = patient.settings.ready_hook
    if hook is None:
        return skip("ready hook", "none is set")
    trouble = hook_trouble(hook)
    if trouble is not None:
        quoted = shlex.quote(str(hook))
        mend = f"chmod +x {quoted}" if hook.is_file() else "device_agent run --ready-hook PROGRAM"
        return fail("ready hook", trouble, mend)
    return ok("ready hook", str(hook))


def check_service(patient: Patient) -> Finding:
    """Check that the systemd service is installed, runs, and is sandboxed."""
    machine = patient.machine
    if not machine.has_systemd():
        return skip("service", "systemd does not run here")
    unit = machine.at(UNIT_FILE)
    if not unit.is_file():
        found = "not installed: the agent does not start with the machine"
        return warn("service", found, "device_agent service install")
    open_to = loose(unit.read_text(encoding="utf-8", errors="replace"))
    if open_to:
        found = f"{UNIT_FILE} is not as it should be: {', '.join(open_to)}"
        return warn("service", found, "device_agent service install")
    try:
        facts = look(machine)
    except ServiceError as exc:
        return warn("service", str(exc), f"systemctl status {UNIT_NAME}")
    if facts.get("ActiveState") != "active":
        found = f"installed, but {facts.get('ActiveState', 'unknown')} ({facts.get('Result', '?')})"
        return fail("service", found, f"sudo systemctl restart {UNIT_NAME}")
    return ok("service", f"runs as {facts.get('User')}: {facts.get('StatusText')}")


def loose(text: str) -> list[str]:
    """Return what a unit lacks of the sandbox."""
    found = sandbox_of(text)
    lacks = [
        f"{key} is not {value}" for key, value in _SANDBOX.items() if found.get(key) != [value]
    ]
    user = found.get("User", ["root"])[-1]
    return [*lacks, *(["it runs as root"] if user in {"root", "0", ""} else [])]
