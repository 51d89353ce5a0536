"""Frontier points for tests: every figure known, any of them replaceable."""

from contract.measurement import Conditions, FrontierPoint
from contract.plan import Plan, Scope

CONDITIONS = Conditions(
    method="made up for a test",
    host="2 cores",
    cpu="test",
    versions={"onnxruntime": "1.32.0"},
    threads=1,
    seeds=(0, 1),
    n_train=200,
    n_test=400,
    repeats=2,
    measured_at="2026-01-01T00:00:00Z",
)


def plan(cut="head", **changes):
    fields = {
        "scope": Scope(cut=cut),
        "input_px": 64,
        "batch": 32,
        "micro_batch": 8,
        "epochs": 3,
        "optimiser": "adam",
        "learning_rate": 1e-3,
    }
    return Plan(**(fields | changes))


def point(variant="a", cut="head", **changes):
    fields = {
        "variant": variant,
        "plan": plan(cut),
        "task": "pcb-adapt",
        "accuracy_mean": 0.8,
        "accuracy_lower": 0.75,
        "accuracy_before": 0.6,
        "peak_workload_bytes": 50_000_000,
        "floor_bytes": 50_000_000,
        "train_seconds_per_image": 0.01,
        "train_seconds": 10.0,
        "latency_ms": 2.0,
        "inference_bytes": 5_000_000,
        "artifact_bytes": 1_000_000,
        "conditions": CONDITIONS,
    }
    return FrontierPoint(**(fields | changes))
