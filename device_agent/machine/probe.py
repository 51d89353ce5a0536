"""Short measuring child: ``python -m device_agent.machine.probe`` prints one JSON line.

It pays for numpy and onnxruntime so that the agent need not. It measures the RSS after the
fine-tune child's imports, and a fixed matrix and convolution workload of well under a second; with
``--model FILE PX CHANNELS CLASSES`` it loads a model, runs it once and says whether it answers as
it should; with ``--time FILE PX CHANNELS CLASSES THREADS PROVIDER`` it says how fast and what it
answers there. A model that crashes or hangs the runtime ends this child, never the agent.
"""

import json
import sys
import time
from pathlib import Path

from device_agent.training.trial_bounds import bound_trial

_MATRIX = 256
_IMAGE = 96
_ROUNDS = 12
_REPEATS = 3
_WARM_UPS = 5
_LEAST_TIMED, _MOST_TIMED = 10, 300
_TIMED_S = 1.5
_TWO = 2  # one logit may speak for two classes; logits have two axes


def _rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def benchmark_ms() -> float:
    """Return the best of three rounds of 12 matrix products and 3x3 convolutions."""
    import numpy as np  # noqa: PLC0415 - only the child pays for it

    chance = np.random.default_rng(0)
    matrix = chance.standard_normal((_MATRIX, _MATRIX), dtype=np.float32)
    image = chance.standard_normal((_IMAGE, _IMAGE, 16), dtype=np.float32)
    kernel = chance.standard_normal((9 * 16, 32), dtype=np.float32)
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for _ in range(_ROUNDS):
            _ = matrix @ matrix
            patches = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))
            _ = patches.reshape(-1, 9 * 16) @ kernel
        best = min(best, time.perf_counter() - start)
    return best * 1000


def measure() -> dict[str, object]:
    """Return floor, benchmark, providers and versions."""
    import numpy as np  # noqa: PLC0415 - only the child pays for it
    import onnxruntime as ort  # noqa: PLC0415
    import PIL.Image  # noqa: PLC0415

    floor = _rss_bytes()
    return {
        "runtime_floor_bytes": floor,
        "benchmark_ms": round(benchmark_ms(), 2),
        "providers": list(ort.get_available_providers()),
        "versions": {
            "onnxruntime": ort.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "python": sys.version.split()[0],
        },
    }


def try_model(path: str, input_px: int, channels: int, classes: int) -> dict[str, object]:
    """Load a model, run one grey image, and return what came out."""
    import numpy as np  # noqa: PLC0415 - only the child pays for it

    from device_agent.serving.runtime import open_session  # noqa: PLC0415

    session = open_session(Path(path))
    image = np.full((1, input_px, input_px, channels), 127, dtype=np.uint8)
    start = time.perf_counter()
    logits = session.run(["logits"], {"images": image})[0]
    widths = {1, classes} if classes == _TWO else {classes}
    shape_fits = logits.ndim == _TWO and logits.shape[0] == 1 and logits.shape[1] in widths
    return {
        "fits": bool(shape_fits and np.isfinite(logits).all()),
        "latency_ms": (time.perf_counter() - start) * 1000,
    }


def time_model(path: str, numbers: list[int], threads: int, provider: str) -> dict[str, object]:
    """Return the median time of one image, the answer to it and this process's memory."""
    import numpy as np  # noqa: PLC0415 - only the child pays for it

    from device_agent.serving.predict import probabilities  # noqa: PLC0415
    from device_agent.serving.runtime import open_session  # noqa: PLC0415

    input_px, channels, _ = numbers
    session = open_session(Path(path), threads, provider)
    shape = (1, input_px, input_px, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(_WARM_UPS):
        logits = session.run(["logits"], {"images": image})[0]
    times_s: list[float] = []
    end = time.perf_counter() + _TIMED_S
    while len(times_s) < _LEAST_TIMED or (len(times_s) < _MOST_TIMED and time.perf_counter() < end):
        start = time.perf_counter()
        session.run(["logits"], {"images": image})
        times_s.append(time.perf_counter() - start)
    return {
        "latency_ms": float(np.median(times_s)) * 1000,
        "rss_bytes": _rss_bytes(),
        "probabilities": probabilities(logits[0]),
    }


def main(arguments: list[str]) -> None:
    """Print one JSON object on standard output."""
    if arguments[:1] == ["--model"]:
        path, *numbers = arguments[1:]
        bound_trial()
        answer = try_model(path, *(int(number) for number in numbers))
    elif arguments[:1] == ["--time"]:
        path, *numbers, provider = arguments[1:]
        *shape, threads = (int(number) for number in numbers)
        answer = time_model(path, shape, threads, provider)
    else:
        answer = measure()
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
