"""Measures one inference graph in a fresh process: latency and memory of a single image.

Run as ``python -m models latency MODEL.onnx PX CHANNELS``; prints one JSON line. It loads nothing
but numpy and onnxruntime, so its memory is what a serving process would add.
"""

import gc
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

REPEATS = 50
WARMUP = 5


def main(argv: list[str]) -> int:
    """Measure ``argv = [model, px, channels]`` and print the figures. Returns the exit code."""
    model, px, channels = argv[0], int(argv[1]), int(argv[2])
    gc.collect()
    floor = _rss_bytes("VmRSS")
    times_ms = _time_runs(_session(model), np.zeros((1, px, px, channels), np.uint8))
    figures = {
        "latency_ms": statistics.median(times_ms),
        "floor_bytes": floor,
        "inference_bytes": max(0, _rss_bytes("VmHWM") - floor),
        "repeats": REPEATS,
        "threads": 1,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def _session(model: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _time_runs(session: ort.InferenceSession, image: np.ndarray) -> list[float]:
    times_ms = []
    for index in range(WARMUP + REPEATS):
        started = time.perf_counter()
        session.run(["logits"], {"images": image})
        if index >= WARMUP:
            times_ms.append((time.perf_counter() - started) * 1e3)
    return times_ms


def _rss_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
