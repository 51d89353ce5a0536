"""The demo's fleet: one server, three boxes, and what the server's REST interface says of them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from demo.processes import Program, ProgramFailedError, run_tool, start, wait_until_listening

CAPS = {"box-256MB": "256MB", "box-700MB": "700MB", "box-4GB": "4GB"}
POLICY = "demo"
POLICY_BODY = {
    "priority": 10,
    "images_may_leave": True,
    "fallback": "nothing_fits",
}
POLL_S = 2
LOOK_EVERY_S = 0.3
FINAL = {"activated", "cloud", "idle"}
STANDS_AFTER_S = 4 * POLL_S
"""A refusal is final when the server has answered it with nothing new for this long."""
SETTLE_WITHIN_S = 1800.0

Json = dict[str, Any]


@dataclass(kw_only=True)
class Server:
    """A running server and the operator's way to ask it."""

    url: str
    operator_token: str
    program: Program
    environment: dict[str, str]

    def get(self, path: str) -> Json:
        """Return the JSON answer of an operator's GET; raises on a problem."""
        headers = {"Authorization": f"Bearer {self.operator_token}"}
        answer = httpx2.get(self.url + path, headers=headers, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def enrol_token(self, uses: int) -> str:
        """Make a token with which ``uses`` boxes may register."""
        return run_tool("paretofleet", "token", "enrol", "--uses", str(uses), env=self.environment)


def start_server(
    folder: Path, release: Path, *, port: int, floor: float, programs: list[Program]
) -> Server:
    """Migrate the embedded database, load the release, set the policy, start the server.

    What is started is added to ``programs``.
    """
    environment = {
        "PARETOFLEET_DATA_DIR": str(folder),
        "PARETOFLEET_PORT": str(port),
        "PARETOFLEET_POLL_SECONDS": str(POLL_S),
    }
    folder.mkdir(parents=True, exist_ok=True)
    run_tool("paretofleet", "migrate", env=environment)
    run_tool("paretofleet", "release", "load", str(release), env=environment)
    _set_policy(folder, floor, environment)
    token = run_tool("paretofleet", "token", "operator", "--expires-hours", "24", env=environment)
    log = folder / "server.log"
    program = start("server", "paretofleet", "serve", log=log, programs=programs, env=environment)
    wait_until_listening(program, port)
    return Server(
        url=f"http://127.0.0.1:{port}",
        operator_token=token,
        program=program,
        environment=environment,
    )


def _set_policy(folder: Path, floor: float, environment: dict[str, str]) -> None:
    known = run_tool("paretofleet", "policy", "list", env=environment).splitlines()
    wanted = POLICY_BODY | {"accuracy_floor": floor}
    found = {p["name"]: p["body"] for p in map(json.loads, known)}.get(POLICY, {})
    if found.items() >= wanted.items():
        return
    body = folder / "policy.json"
    body.write_text(json.dumps(wanted))
    run_tool("paretofleet", "policy", "set", POLICY, str(body), env=environment)


def start_boxes(
    server: Server, *, data: Path, folder: Path, programs: list[Program]
) -> list[Program]:
    """Start every box's agent with its cap; they register, train and go on serving."""
    token = server.enrol_token(uses=len(CAPS))
    return [
        _start_box(name, server, data=data, folder=folder, token=token, programs=programs)
        for name in CAPS
    ]


def _start_box(
    name: str, server: Server, *, data: Path, folder: Path, token: str, programs: list[Program]
) -> Program:
    return start(
        name,
        *("device_agent", "run", "--server", server.url, "--data", str(data)),
        *("--state", str(folder / name), "--ram-cap", CAPS[name], "--name", name),
        *("--enrol-token", token, "--serve-port", "0", "--progress-json"),
        log=folder / f"{name}.log",
        programs=programs,
    )


def settle(server: Server, boxes: list[Program], tell: Callable[[Program], None]) -> list[Json]:
    """Wait until every box has done what the server wants of it; return a row for each.

    ``tell(box)`` is called often, to show its progress. Raises ProgramFailedError when a program
    ends meanwhile.
    """
    rows: dict[str, Json] = {}
    patience = Patience()
    give_up_at = time.monotonic() + SETTLE_WITHIN_S
    while len(rows) < len(boxes):
        server.program.check()
        late = [box for box in boxes if box.name not in rows]
        if time.monotonic() > give_up_at:
            ending = f"did not settle within {SETTLE_WITHIN_S:.0f} s"
            raise ProgramFailedError(late[0].name, ending, late[0].log)
        devices = {d["serial"]: d for d in server.get("/v1/devices?limit=200")["items"]}
        for box in boxes:
            box.check()
            tell(box)
            row = _row(server, devices.get(box.name))
            if row is not None and patience.is_final(box.name, row, time.monotonic()):
                rows[box.name] = row
            else:
                rows.pop(box.name, None)
        time.sleep(LOOK_EVERY_S)
    return [rows[box.name] for box in boxes]


class Patience:
    """Tells a box's last word from a refusal that the server is about to answer."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int, str], float] = {}

    def is_final(self, name: str, row: Json, now_s: float) -> bool:
        """Say whether the outcome of ``row`` stands; ``now_s`` is a monotonic time."""
        status = row["outcome"]["status"]
        since = self._since.setdefault((name, row["device"]["generation"], status), now_s)
        return status in FINAL or now_s - since > STANDS_AFTER_S


def _row(server: Server, device: Json | None) -> Json | None:
    """Return a box's decision and outcome, or None while it is still at work."""
    if device is None or not device["decision_id"]:
        return None
    reports = server.get(f"/v1/devices/{device['id']}/reports?limit=200")["items"]
    outcome = current_outcome(reports, device["generation"])
    if outcome is None:
        return None
    decision = server.get(f"/v1/decisions/{device['decision_id']}")["decision"]
    return {"device": device, "decision": decision, "outcome": outcome}


def current_outcome(reports: list[Json], generation: int) -> Json | None:
    """Return the newest outcome of that generation; ``reports`` come newest first."""
    bodies = (report["body"] for report in reports)
    outcomes = (body for body in bodies if body["kind"] == "outcome")
    return next((body for body in outcomes if body["generation"] == generation), None)
