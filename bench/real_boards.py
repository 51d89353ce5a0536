"""What generated tiles are worth on real boards: prints one JSON object with its conditions.

    PYTHONPATH=. python bench/real_boards.py [--release releases/starter]

Every variant of a release judges every tile of every real board untouched, before any
fine-tuning: AUC and balanced accuracy (threshold one half) by board, and their means with a 95 %
interval clustered by board. No board here was seen in training: releases are made from generated
tiles and DeepPCB scans alone.
"""

import argparse
import json
import math
import platform
import statistics
from importlib.metadata import version
from pathlib import Path

import numpy as np

from contract.release import Variant
from models.data import pcb_tiles
from models.measure import STUDENT_T_95
from models.metrics import auc, balanced_accuracy
from models.release import FILES_FOLDER, read_release

_BATCH = 64


def judge(folder: Path, variant: Variant, images: np.ndarray) -> np.ndarray:
    """Return the defect probability of every image."""
    import onnxruntime as ort  # noqa: PLC0415  # after models, which turns its telemetry off

    model = str(folder / FILES_FOLDER / variant.inference.sha256)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = [
        session.run(["logits"], {"images": images[i : i + _BATCH]})[0]
        for i in range(0, len(images), _BATCH)
    ]
    margins = np.concatenate(logits) @ np.array([-1.0, 1.0], np.float32)
    return np.asarray(1 / (1 + np.exp(-margins)))


def interval(values: list[float]) -> list[float]:
    """Return the 95 % interval of the mean over boards (Student's t)."""
    mean = statistics.mean(values)
    t = STUDENT_T_95[min(len(values) - 1, len(STUDENT_T_95)) - 1]
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return [round(mean - half, 3), round(mean + half, 3)]


def measure(folder: Path, boards: tuple[pcb_tiles.Board, ...]) -> dict[str, object]:
    """Return every variant's figures by board."""
    release = read_release(folder)
    rows = []
    for variant in release.variants:
        areas, accuracies, tiles = {}, {}, 0
        for board in boards:
            images, labels, _ = pcb_tiles.load_tiles(board.files, variant.spec.input_px)
            defect = judge(folder, variant, images)
            areas[board.name] = round(auc(labels, defect), 3)
            predicted = (defect > 0.5).astype(np.int64)  # noqa: PLR2004
            accuracies[board.name] = round(balanced_accuracy(labels, predicted), 3)
            tiles += len(labels)
        rows.append(_row(variant.name, areas, accuracies, tiles))
    return {
        "figure": "untouched release on real boards that it never saw",
        "release": release.number,
        "variants": rows,
        "onnxruntime": version("onnxruntime"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _row(
    name: str, areas: dict[str, float], accuracies: dict[str, float], tiles: int
) -> dict[str, object]:
    area, accuracy = list(areas.values()), list(accuracies.values())
    return {
        "variant": name,
        "tiles": tiles,
        "auc_mean": round(statistics.mean(area), 3),
        "auc_95": interval(area),
        "balanced_accuracy_mean": round(statistics.mean(accuracy), 3),
        "balanced_accuracy_95": interval(accuracy),
        "auc": areas,
        "balanced_accuracy": accuracies,
    }


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    parser.add_argument("--boards", type=Path, default=pcb_tiles.default_root())
    options = parser.parse_args()
    figures = measure(options.release, pcb_tiles.load_boards(options.boards))
    print(json.dumps(figures, indent=1))  # noqa: T201  # its output


if __name__ == "__main__":
    main()
