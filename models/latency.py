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
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

EXIT_BAD_INPUT = 2
REPEATS = 50
WARMUP = 5
_USAGE = "usage: python -m models latency MODEL.onnx PX CHANNELS"
_UNUSABLE = (
    ValueError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
)


def main(argv: list[str]) -> int:
    """Measure ``argv = [model, px, channels]`` and print the figures. Returns the exit code.

    0 done; 2 the arguments or the model cannot be used, and standard error says why.
    """
    try:
        model, px, channels = argv
        image = np.zeros((1, int(px), int(px), int(channels)), np.uint8)
    except ValueError:
        print(_USAGE, file=sys.stderr)
        return EXIT_BAD_INPUT
    try:
        figures = measure(model, image)
    except _UNUSABLE as error:
        print(f"cannot run {model} on {px} px and {channels} channels: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def measure(model: str, image: np.ndarray) -> dict[str, float]:
    """Return what one ``image`` uint8 [1, px, px, C] costs the model at that path."""
    gc.collect()
    floor = _rss_bytes("VmRSS")
    times_ms = _time_runs(_session(model), image)
    return {
        "latency_ms": statistics.median(times_ms),
        "floor_bytes": floor,
        "inference_bytes": max(0, _rss_bytes("VmHWM") - floor),
        "repeats": REPEATS,
        "threads": 1,
    }


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
