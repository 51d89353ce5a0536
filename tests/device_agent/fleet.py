"""A whole fleet server in memory, behind httpx2's transport seam, and the release that it offers.

It keeps what it was sent (``reports``, ``images``, ``requests``), can be away or talk nonsense, and
computes the desired state from ``points``: the first that is not ruled out by an outcome.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import httpx2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from contract.architecture import XceptionSpec
from contract.desired import Assignment, DesiredState
from contract.measurement import Conditions, FrontierPoint
from contract.plan import Plan, Scope
from contract.release import Artifact, TrainGraph, Variant
from contract.report import OutcomeBody, Report
from contract.rules import BoxRules

ENROL_TOKEN = "enrol-secret-token"  # noqa: S105 - a test's own
DEVICE_TOKEN = "device-secret-token"  # noqa: S105 - a test's own
PX = 32


@cache
def tiny_model(bias: float = 0.0) -> bytes:
    """A graph that says ``defect`` of bright images: logits = mean brightness * [-1, 1]."""
    weights = numpy_helper.from_array(np.array([[-0.05, 0.05]], np.float32), "w")
    shift = numpy_helper.from_array(np.array([6.0 + bias, -6.0], np.float32), "b")
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
    nodes = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["m"], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "one"], ["features"]),
        helper.make_node("MatMul", ["features", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["logits"]),
    ]
    one = numpy_helper.from_array(np.array([1], np.int64), "one")
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", PX, PX, 3])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 1]),
    ]
    graph = helper.make_graph(nodes, "tiny", [images], outputs, [weights, shift, axes, one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


FILES = {
    "weights": b"weights " * 5000,
    "inference": tiny_model(),
    "train_graph": b"graph " * 2000,
}


def artifact(kind: str) -> Artifact:
    data = FILES[kind]
    digest = hashlib.sha256(data).hexdigest()
    return Artifact.model_validate({"kind": kind, "sha256": digest, "length_bytes": len(data)})


def variant(name: str = "xcep-tiny") -> Variant:
    return Variant(
        name=name,
        spec=XceptionSpec(input_px=PX, head_units=2),
        classes=("ok", "defect"),
        parameters=1000,
        blocks=("stem", "entry1", "exit", "tail", "head"),
        weights=artifact("weights"),
        inference=artifact("inference"),
        train_graphs=(
            TrainGraph(
                cut="head",
                artifact=artifact("train_graph"),
                trainable=("head.weight", "head.bias"),
                frozen=("stem.conv.weight",),
            ),
        ),
        lineage={},
    )


def point(name: str = "xcep-tiny", workload_bytes: int = 30_000_000) -> FrontierPoint:
    plan = Plan(
        scope=Scope(cut="head"), input_px=PX, batch=8, micro_batch=8, epochs=2, optimiser="adam",
        learning_rate=0.001,
    )  # fmt: skip
    conditions = Conditions(
        method="finetune", host="lab", cpu="cpu", versions={}, threads=1, seeds=(0,), n_train=40,
        n_test=20, repeats=1, measured_at="2026-01-01",
    )  # fmt: skip
    return FrontierPoint(
        variant=name, plan=plan, task="pcb", accuracy_mean=0.95, accuracy_lower=0.9,
        accuracy_before=0.5, peak_workload_bytes=workload_bytes, floor_bytes=50_000_000,
        train_seconds_per_image=0.01, train_seconds=2.0, latency_ms=2.0, inference_bytes=1_000_000,
        artifact_bytes=1_000_000, conditions=conditions,
    )  # fmt: skip


@dataclass
class FleetSim(httpx2.BaseTransport):
    """``desired`` overrides what is computed. ``broken`` answers every request with itself."""

    points: list[FrontierPoint] = field(default_factory=lambda: [point()])
    floor: float = 0.8
    images_may_leave: bool = False
    fallback: str = "never"
    action: str = "train"
    generation: int = 1
    release_number: int = 1
    away: bool = False
    broken: httpx2.Response | None = None
    lose_next_answer: bool = False
    accept_token: bool = True
    reports: dict[str, Report] = field(default_factory=dict)
    received: list[Report] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    registered: int = 0
    enrol_token: str = ENROL_TOKEN
    device_token: str = DEVICE_TOKEN
    next_poll_s: str = "30"
    refused_kinds: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    truncate_files_to: int | None = None
    rules: BoxRules = field(default_factory=BoxRules)

    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=self, base_url="http://fleet.test")

    def outcomes(self) -> list[OutcomeBody]:
        ordered = sorted(self.reports.values(), key=lambda report: report.sequence)
        return [r.body for r in ordered if isinstance(r.body, OutcomeBody)]

    def current(self) -> DesiredState:
        ruled_out = {
            o.point_key
            for o in self.outcomes()
            if o.status in {"over_cap", "below_floor", "refused"}
        }
        left = [p for p in self.points if p.key not in ruled_out] if self.action == "train" else []
        chosen = left[0] if left else None
        assignment = None
        if chosen is not None:
            made = variant(chosen.variant)
            assignment = Assignment(point=chosen, variant=made, budget_bytes=400_000_000)
        idle = "idle" if self.action == "train" else self.action
        return DesiredState.model_validate(
            {
                "generation": self.generation + len(ruled_out),
                "action": "train" if assignment else idle,
                "release_number": self.release_number,
                "decision_id": "d1",
                "assignment": assignment,
                "accuracy_floor": self.floor,
                "fallback": self.fallback,
                "images_may_leave": self.images_may_leave,
                "rules": self.rules,
                "why": "it is the most accurate that fits",
                "next_better": "none",
            }
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.requests.append((request.method, path))
        if self.away:
            raise httpx2.ConnectError("no route to host", request=request)
        if self.broken is not None:
            return self.broken
        body = b"".join(request.stream)  # type: ignore[arg-type]
        routes = {"register": self._register, "desired": self._desired, "reports": self._reports}
        answer = routes.get(path.rsplit("/", 1)[-1], self._other)(request, body)
        if self.lose_next_answer and request.method == "POST":
            self.lose_next_answer = False
            raise httpx2.ReadTimeout("the answer was lost", request=request)
        return answer

    def _register(self, request: httpx2.Request, _: bytes) -> httpx2.Response:
        if request.headers.get("Authorization") != f"Bearer {self.enrol_token}":
            return problem(401, "the enrolment token is not known")
        self.registered += 1
        return answer_json(201, {"device_id": "box-1", "token": self.device_token})

    def _desired(self, request: httpx2.Request, _: bytes) -> httpx2.Response:
        if not self._is_known(request):
            return problem(401, "the device token is not known")
        state = self.current()
        etag = f'"{hashlib.sha256(state.model_dump_json().encode()).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Paretofleet-Next-Poll-S": self.next_poll_s}
        if request.headers.get("If-None-Match") == etag:
            return httpx2.Response(304, headers=headers, stream=Chunks([]))
        return answer_json(200, state.model_dump(mode="json"), headers)

    def _reports(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        if not self._is_known(request):
            return problem(401, "the device token is not known")
        receipts = []
        if self.refused_kinds & {raw["body"]["kind"] for raw in json.loads(body)["reports"]}:
            return problem(422, "a report of this kind is not understood")
        for raw in json.loads(body)["reports"]:
            report = Report.model_validate(raw)
            self.received.append(report)
            status = "duplicate" if report.key in self.reports else "stored"
            self.reports.setdefault(report.key, report)
            receipts.append({"key": report.key, "status": status})
        return answer_json(200, {"receipts": receipts})

    def _other(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        if not self._is_known(request):
            return problem(401, "the device token is not known")
        if "inference" in request.url.path:
            self.images.append(body)
            return answer_json(200, cloud_prediction())
        sha256 = request.url.path.rsplit("/", 1)[-1]
        for kind, data in self.files.items():
            if hashlib.sha256(FILES[kind]).hexdigest() == sha256:
                piece = data[: self.truncate_files_to]
                return httpx2.Response(200, stream=Chunks([piece]))
        return problem(404, "no such file")

    def _is_known(self, request: httpx2.Request) -> bool:
        return (
            self.accept_token
            and request.headers.get("Authorization") == f"Bearer {self.device_token}"
        )


def cloud_prediction() -> dict[str, object]:
    return {
        "label": "ok",
        "probabilities": {"ok": 0.9, "defect": 0.1},
        "variant": "xcep-big",
        "release_number": 1,
        "latency_ms": 20.0,
        "source": "cloud",
    }


class Chunks(httpx2.SyncByteStream):
    """A body that arrives in the given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces


def answer_json(
    status: int, body: dict[str, object], headers: dict[str, str] | None = None
) -> httpx2.Response:
    sent = {"Content-Type": "application/json", **(headers or {})}
    return httpx2.Response(status, headers=sent, stream=Chunks([json.dumps(body).encode()]))


def problem(status: int, detail: str) -> httpx2.Response:
    body = {"type": "about:blank", "title": "no", "status": status, "detail": detail}
    return answer_json(status, body)
