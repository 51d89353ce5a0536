"""How fast tiles are generated: prints one JSON object with its conditions.

    python bench/generator.py [--px 128] [--tiles 600]

One process, one OpenCV thread; the noise sheets are warm. Run it alone on the machine.
"""

import argparse
import json
import platform
import time

import cv2
import numpy as np

from models.data.generator import tiles

_SEED = 0
_BOARDS = range(64)


def measure(px: int, count: int) -> dict[str, object]:
    """Return tiles per second and what it was measured with."""
    cv2.setNumThreads(1)
    tiles(_SEED, 32, px, _BOARDS)
    started, started_cpu = time.perf_counter(), time.process_time()
    tiles(_SEED + 1, count, px, _BOARDS)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return {
        "figure": "generated tiles per second",
        "tiles_per_second": round(count / seconds, 1),
        "tiles_per_cpu_second": round(count / cpu_seconds, 1),
        "tiles": count,
        "px": px,
        "seconds": round(seconds, 3),
        "boards": len(_BOARDS),
        "seed": _SEED,
        "threads": 1,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--px", type=int, default=128, help="side of a tile in pixels")
    parser.add_argument("--tiles", type=int, default=600, help="how many to time")
    options = parser.parse_args()
    print(json.dumps(measure(options.px, options.tiles)))  # noqa: T201  (its output)


if __name__ == "__main__":
    main()
