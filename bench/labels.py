"""Finding wrong labels on real boards: prints one JSON object with its conditions.

    PYTHONPATH=. python bench/labels.py [--variant rx-m-128] [--tiles 300] [--wrong 0.1]

For each board: embed tiles with the released network, turn the labels of ``--wrong`` of the
pictures (with all their copies) in each class, and let ``device_agent.quality.labels`` judge them;
five draws a board. By chance, precision equals ``--wrong``. ``clean`` is what is flagged when no
label was turned.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from contract.reference import STATISTICS_PX
from contract.release import Variant
from device_agent.quality.features import Embedder, views_for
from device_agent.quality.fingerprint import fingerprint, group_copies
from device_agent.quality.labels import Judged, judge_labels
from device_agent.quality.look import read_image
from device_agent.serving.images import decode
from models.data import pcb_tiles
from models.release import FILES_FOLDER, read_release

_DRAWS = 5
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def embed(
    files: tuple[Any, ...], model: Path, variant: Variant
) -> tuple[npt.NDArray[np.float32], Ints, Ints]:
    """Return features, labels and groups of copies of a board's tiles."""
    px, channels = variant.spec.input_px, variant.spec.in_channels
    embedder = Embedder(model, px, channels, views_for(len(files), px))
    contents = [read_image(file.path) for file in files]
    features = np.array([embedder.features(content) for content in contents])
    prints = [fingerprint(decode(content, STATISTICS_PX, 3)[0]) for content in contents]
    labels = np.array([file.label for file in files], np.int64)
    return features, labels, group_copies(prints)[0]


def turned(labels: Ints, groups: Ints, wrong: float, seed: int) -> Flags:
    """Return which labels to turn: whole groups of copies, ``wrong`` of each class."""
    rng = np.random.default_rng((seed, 17))
    chosen = np.zeros(len(labels), bool)
    for label in (0, 1):
        names = np.unique(groups[labels == label])
        drawn = rng.permutation(names)[: round(wrong * len(names))]
        chosen |= np.isin(groups, drawn) & (labels == label)
    return chosen


def judged(
    board: tuple[npt.NDArray[np.float32], Ints, Ints], wrong: float, seed: int
) -> dict[str, float]:
    """Turn labels, judge, and count."""
    features, labels, groups = board
    flipped = turned(labels, groups, wrong, seed)
    found = _judge(features, np.where(flipped, 1 - labels, labels), groups)
    hits = float((found.suspicious & flipped).sum())
    worst = np.argsort(-found.doubt)[: max(1, len(labels) // 20)]
    return {
        "flagged_share": float(found.suspicious.mean()),
        "precision": hits / max(1.0, float(found.suspicious.sum())),
        "recall": hits / max(1.0, float(flipped.sum())),
        "precision_of_worst_5_percent": float(flipped[worst].mean()),
        "classifier_accuracy": found.accuracy,
        "wrong_share": float(flipped.mean()),
    }


def _judge(features: npt.NDArray[np.float32], labels: Ints, groups: Ints) -> Judged:
    found = judge_labels(features, labels, groups)
    if found is None:
        raise SystemExit("a board has too few tiles to judge labels: raise --tiles")
    return found


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    parser.add_argument("--boards", type=Path, default=pcb_tiles.default_root())
    parser.add_argument("--variant", default="rx-m-128")
    parser.add_argument("--tiles", type=int, default=300, help="tiles a class and board")
    parser.add_argument("--wrong", type=float, default=0.1, help="share of labels to turn")
    options = parser.parse_args()
    variant = read_release(options.release).variant(options.variant)
    model = options.release / FILES_FOLDER / variant.inference.sha256
    results, clean, start = {}, {}, time.process_time()
    for board in pcb_tiles.load_boards(options.boards):
        seen = embed(pcb_tiles.sample(board, options.tiles, 0).files, model, variant)
        results[board.name] = _mean([judged(seen, options.wrong, k) for k in range(_DRAWS)])
        clean[board.name] = round(judged(seen, 0.0, 0)["flagged_share"], 3)
    conditions = {
        "variant": options.variant,
        "model_sha256": variant.inference.sha256,
        "tiles_per_class": options.tiles,
        "wrong": options.wrong,
        "draws": _DRAWS,
        "machine": platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    mean = _mean(list(results.values()))
    answer = {"conditions": conditions, "mean": mean, "clean": clean, "boards": results}
    print(json.dumps(answer, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
