"""Worked examples for the operators' page. A test validates every one of them."""

from typing import Any

from fastapi.openapi.models import Example

PROFILE: dict[str, Any] = {
    "cpu": "ARM Cortex-A72",
    "cores": 4,
    "cpu_flags": ["neon"],
    "ram_total_bytes": 2_000_000_000,
    "ram_available_bytes": 1_400_000_000,
    "swap_bytes": 0,
    "disk_free_bytes": 8_000_000_000,
    "cgroup_limit_bytes": 1_000_000_000,
    "operator_cap_bytes": 256_000_000,
    "agent_bytes": 60_000_000,
    "runtime_floor_bytes": 49_000_000,
    "benchmark_ms": 41.5,
    "accelerators": [],
    "providers": ["CPUExecutionProvider"],
    "versions": {"agent": "0.1.0", "onnxruntime": "1.32.0"},
    "cap_kinds": ["rlimit_data", "watchdog"],
    "n_ok": 240,
    "n_defect": 60,
}
POLICY: dict[str, Any] = {
    "selector": {"line": "pcb-3"},
    "priority": 10,
    "accuracy_floor": 0.9,
    "budget_fraction": 0.9,
    "reserve_bytes": 268_435_456,
    "max_latency_ms": 50.0,
    "max_artifact_bytes": 20_000_000,
    "objective": ["max_accuracy", "min_train_seconds", "min_train_bytes"],
    "accuracy_step": 0.005,
    "hysteresis": 0.01,
    "fallback": "nothing_fits",
    "images_may_leave": True,
}
REGISTRATION: dict[str, Example] = {
    "box": {
        "summary": "A box with a cap of 256 MB",
        "value": {"serial": "LINE3-BOX7", "labels": {"line": "pcb-3"}, "profile": PROFILE},
    }
}
REPORT_BATCH: dict[str, Example] = {
    "outcome": {
        "summary": "A fine-tune that ended well",
        "value": {
            "reports": [
                {
                    "key": "outcome-17",
                    "sequence": 17,
                    "sent_at": "2026-03-01T08:00:00Z",
                    "body": {
                        "kind": "outcome",
                        "generation": 3,
                        "release_number": 1,
                        "point_key": "xception-w25/head/128px-b32-m8-sgd-e10/pcb",
                        "status": "activated",
                        "reason": "",
                        "balanced_accuracy_before": 0.71,
                        "balanced_accuracy_after": 0.94,
                        "n_train": 180,
                        "n_test": 60,
                        "peak_rss_bytes": 121_000_000,
                        "cap_bytes": 196_000_000,
                    },
                }
            ]
        },
    },
    "summary": {
        "summary": "An hour of inspection",
        "value": {
            "reports": [
                {
                    "key": "summary-18",
                    "sequence": 18,
                    "sent_at": "2026-03-01T09:00:00Z",
                    "body": {
                        "kind": "inference_summary",
                        "window_start": "2026-03-01T08:00:00Z",
                        "window_s": 3600,
                        "counts": {"ok": 3411, "defect": 29},
                        "cloud_count": 0,
                        "latency_ms_p50": 9.1,
                        "latency_ms_p99": 14.8,
                    },
                }
            ]
        },
    },
}
POLICY_CREATE: dict[str, Example] = {
    "line": {"summary": "A policy for one line", "value": {"name": "pcb-line-3", **POLICY}}
}
POLICY_VERSION: dict[str, Example] = {
    "lower-floor": {
        "summary": "The same, a lower floor",
        "value": {**POLICY, "accuracy_floor": 0.85},
    }
}
