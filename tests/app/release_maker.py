"""A small but genuine release: real ONNX graphs, real hashes, made-up measurements."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.architecture import XceptionSpec
from contract.measurement import Conditions, FrontierPoint
from contract.plan import Plan, Scope
from contract.release import Artifact, Release, TrainGraph, Variant

PX = 32
MB = 1_000_000
CLASSES = ("ok", "defect")
CONDITIONS = Conditions(
    method="by hand",
    host="test",
    cpu="test",
    versions={"onnxruntime": "1.32.0"},
    threads=1,
    seeds=(0,),
    n_train=100,
    n_test=100,
    repeats=1,
    measured_at="2026-01-01",
)


def inference_graph(brightness_is_defect: float, px: int = PX) -> bytes:
    """Return a graph that calls bright images a defect, for a positive argument."""
    weights = np.array([[-brightness_is_defect, brightness_is_defect]] * 3, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["raw"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["raw", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("ReduceMean", ["centred"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["features", "head.weight"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(127.5), "half"),
        numpy_helper.from_array(np.float32(1.0), "one"),
        numpy_helper.from_array(weights, "head.weight"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", px, px, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
        ],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def point(  # noqa: PLR0913 - a point has many numbers, all with a default
    variant: str = "tiny",
    *,
    cut: str = "head",
    accuracy: float | None = 0.9,
    workload_mb: float | None = 50,
    seconds: float | None = 10,
    latency_ms: float | None = 2,
    artifact_mb: float | None = 1,
    micro_batch: int = 8,
) -> FrontierPoint:
    def in_bytes(megabytes: float | None) -> int | None:
        return None if megabytes is None else int(megabytes * MB)

    return FrontierPoint(
        variant=variant,
        plan=Plan(
            scope=Scope(cut=cut),
            input_px=PX,
            batch=micro_batch,
            micro_batch=micro_batch,
            epochs=3,
            optimiser="sgd",
            learning_rate=0.01,
        ),
        task="pcb",
        accuracy_mean=None if accuracy is None else min(1.0, accuracy + 0.02),
        accuracy_lower=accuracy,
        accuracy_before=0.6,
        peak_workload_bytes=in_bytes(workload_mb),
        floor_bytes=47 * MB,
        train_seconds_per_image=0.01,
        train_seconds=seconds,
        latency_ms=latency_ms,
        inference_bytes=30 * MB,
        artifact_bytes=in_bytes(artifact_mb),
        conditions=CONDITIONS,
    )


def variant(name: str, files: dict[str, bytes], *, brightness: float = 1.0) -> Variant:
    """Return a variant with two cuts; its files are put into ``files`` by hash."""

    def stored(kind: str, content: bytes) -> Artifact:
        sha256 = hashlib.sha256(content).hexdigest()
        files[sha256] = content
        return Artifact(kind=kind, sha256=sha256, length_bytes=len(content))

    graphs = tuple(
        TrainGraph(
            cut=cut,
            artifact=stored("train_graph", f"{name} {cut}".encode()),
            trainable=("head.weight",),
            frozen=(),
        )
        for cut in ("head", "stem")
    )
    return Variant(
        name=name,
        spec=XceptionSpec(input_px=PX, head_units=2),
        classes=CLASSES,
        parameters=6,
        blocks=("stem", "head"),
        weights=stored("weights", f"weights of {name} ".encode() * 1000),
        inference=stored("inference", inference_graph(brightness)),
        train_graphs=graphs,
        lineage={"from": "nowhere"},
    )


DEFAULT_POINTS = (
    point("small", cut="head", accuracy=0.85, workload_mb=20, seconds=5),
    point("small", cut="stem", accuracy=0.90, workload_mb=80, seconds=20),
    point("large", cut="head", accuracy=0.92, workload_mb=150, seconds=30, latency_ms=8),
    point("large", cut="stem", accuracy=0.96, workload_mb=600, seconds=90, latency_ms=8),
)


def release(
    number: int = 1, points: tuple[FrontierPoint, ...] = DEFAULT_POINTS
) -> tuple[Release, dict[str, bytes]]:
    """Return a release and its files by hash."""
    files: dict[str, bytes] = {}
    names = dict.fromkeys(p.variant for p in points)
    variants = tuple(variant(n, files, brightness=1.0 + i) for i, n in enumerate(names))
    made = Release(
        number=number,
        title=f"Release {number}",
        task="pcb",
        made_by="tests",
        variants=variants,
        points=points,
    )
    return made, files


def release_folder(
    folder: Path, number: int = 1, points: tuple[FrontierPoint, ...] = DEFAULT_POINTS
) -> Path:
    """Write a release as the lab does: release.json and files/<sha256>."""
    made, files = release(number, points)
    (folder / "files").mkdir(parents=True)
    (folder / "release.json").write_text(made.model_dump_json())
    for sha256, content in files.items():
        (folder / "files" / sha256).write_bytes(content)
    return folder
