"""The server of ``bench/caps.py``: the real selection over a real release, behind a socket.

It offers one box a list of points at a time and decides as the server does (``app.domain``): by
budget, by what the box has seen, by accuracy. It stores nothing.
"""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from app.domain.observations import Seen, after, observation
from app.domain.selection import PolicyInForce, select
from contract.desired import Assignment, DesiredState
from contract.device import DeviceProfile
from contract.measurement import FrontierPoint
from contract.policy import PolicyBody
from contract.release import Release
from contract.report import EventBody, OutcomeBody, ProfileBody, ReportBatch

FLOOR = 0.05
_POLICY = PolicyInForce(
    name="bench",
    version=1,
    body=PolicyBody(accuracy_floor=FLOOR, budget_fraction=1.0, reserve_bytes=0),
)


class Fleet:
    """What the box is offered and what it has said since. Its lock guards everything."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.release = Release.model_validate_json((folder / "release.json").read_bytes())
        self._lock = threading.Lock()
        self._number = 1
        self._generation = 0
        self._points: tuple[FrontierPoint, ...] = ()
        self._profile: DeviceProfile | None = None
        self._seen: dict[str, Seen] = {}
        self._outcomes: list[OutcomeBody] = []
        self._steps_down: list[str] = []
        self._sequence = 0

    def offer(self, points: tuple[FrontierPoint, ...]) -> None:
        """Begin a release of its own number with these points; forget what was said before."""
        with self._lock:
            self._number += 1
            self._generation += 1
            self._points, self._seen = points, {}
            self._outcomes, self._steps_down = [], []

    def said(self) -> tuple[list[OutcomeBody], list[str]]:
        """Return the outcomes and the steps to a smaller micro-batch since the last offer."""
        with self._lock:
            return list(self._outcomes), list(self._steps_down)

    def meet(self, profile: DeviceProfile) -> None:
        with self._lock:
            self._profile = profile
            self._generation += 1

    def hear(self, batch: ReportBatch) -> None:
        """Take reports in, in the order of their coming."""
        for report in batch.reports:
            if isinstance(report.body, ProfileBody):
                self.meet(report.body.profile)
            elif isinstance(report.body, OutcomeBody):
                self._note(report.body)
            elif isinstance(report.body, EventBody) and report.body.name == "smaller_micro_batch":
                with self._lock:
                    self._steps_down.append(report.body.fields["text"].split(":")[0])

    def _note(self, outcome: OutcomeBody) -> None:
        with self._lock:
            self._outcomes.append(outcome)
            if outcome.point_key is None or outcome.release_number != self._number:
                return
            self._sequence += 1
            seen = self._seen.get(outcome.point_key, Seen())
            self._seen[outcome.point_key] = after(seen, outcome, self._sequence)
            self._generation += 1

    def desired(self) -> DesiredState:
        """Decide anew: what the real selection takes from the points on offer."""
        with self._lock:
            if self._profile is None:
                return self._state("idle", None, "the profile is not known", "")
            decision = select(
                profile=self._profile,
                policy=_POLICY,
                release=self.release.model_copy(
                    update={"number": self._number, "points": self._points}
                ),
                observations={key: observation(key, seen) for key, seen in self._seen.items()},
                current=None,
                now=datetime.now(UTC),
            )
            assignment = None
            if decision.chosen is not None:
                assignment = Assignment(
                    point=decision.chosen,
                    variant=self.release.variant(decision.chosen.variant),
                    budget_bytes=decision.budget.total_bytes,
                )
            return self._state(decision.action, assignment, decision.why, decision.next_better)

    def _state(
        self, action: str, assignment: Assignment | None, why: str, next_better: str
    ) -> DesiredState:
        return DesiredState.model_validate(
            {
                "generation": self._generation, "action": action, "assignment": assignment,
                "release_number": self._number, "decision_id": str(self._generation),
                "accuracy_floor": FLOOR, "fallback": "never", "images_may_leave": False,
                "why": why, "next_better": next_better,
            }
        )  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    """The five calls that a box makes."""

    protocol_version = "HTTP/1.1"
    fleet: Fleet

    def do_GET(self) -> None:
        """Answer a poll or a download."""
        if self.path.endswith("/desired"):
            state = self.fleet.desired()
            tag = f'"{state.generation}"'
            if self.headers.get("If-None-Match") == tag:
                return self._answer(304, b"", {"ETag": tag})
            return self._answer(200, state.model_dump_json().encode(), {"ETag": tag})
        file = self.fleet.files / self.path.rsplit("/", 1)[-1]
        return (
            self._answer(200, file.read_bytes(), {})
            if file.is_file()
            else self._answer(404, b"", {})
        )

    def do_POST(self) -> None:
        """Register the box or take its reports."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/register"):
            self.fleet.meet(DeviceProfile.model_validate(json.loads(body)["profile"]))
            return self._json({"device_id": "bench", "token": "bench"})
        batch = ReportBatch.model_validate_json(body)
        self.fleet.hear(batch)
        receipts = [{"key": report.key, "status": "stored"} for report in batch.reports]
        return self._json({"receipts": receipts})

    def _json(self, body: dict[str, Any]) -> None:
        self._answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(fleet: Fleet) -> str:
    """Serve until the process ends; return the URL."""
    handler = type("Handler", (_Handler,), {"fleet": fleet})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"
