"""Worked examples of what is sent, for the operators' page. A test validates every one of them.

What is answered is worked out in ``app.openapi.answers``.
"""

from typing import Any

from fastapi.openapi.models import Example

from app.examples import fleet

PROFILE: dict[str, Any] = fleet.PROFILE.model_dump(mode="json")
POLICY: dict[str, Any] = fleet.POLICY.model_dump(mode="json")
REGISTRATION: dict[str, Example] = {
    "box": {
        "summary": "A box with a cap of 256 MB",
        "value": {"serial": fleet.SERIAL, "labels": fleet.LABELS, "profile": PROFILE},
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
                        "generation": 1,
                        "release_number": 1,
                        "point_key": fleet.CHOSEN.key,
                        "status": "activated",
                        "reason": "",
                        "balanced_accuracy_before": 0.709,
                        "balanced_accuracy_after": 0.742,
                        "n_train": 180,
                        "n_test": 60,
                        "peak_rss_bytes": 138_000_000,
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
    "line": {"summary": "A policy for one line", "value": {"name": fleet.POLICY_NAME, **POLICY}}
}
POLICY_VERSION: dict[str, Example] = {
    "lower-floor": {
        "summary": "The same, a lower floor",
        "value": {**POLICY, "accuracy_floor": 0.53},
    }
}
