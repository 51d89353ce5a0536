"""A trainer that really takes memory: ``sized_trainer.py LOG SIZES JOB.json``. No packages needed.

SIZES maps the content of the training graph (``*``: any) to megabytes for each image of a
micro-batch: one number, or one for the dry run and one for the training. Every start leaves a
line in LOG: the graph, the micro-batch and ``dry`` or ``full``.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

LOG, SIZES, JOB_PATH = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
JOB = json.loads(JOB_PATH.read_text())
OUT = Path(JOB["output_dir"])
DRY = JOB.get("max_steps") is not None
GRAPH = Path(JOB["train_graph_path"]).read_text()
PIECE_BYTES = 4_000_000


def megabytes_each():
    sizes = SIZES.get(GRAPH, SIZES.get("*", 0))
    return sizes if isinstance(sizes, int) else sizes[0 if DRY else 1]


def main():
    with LOG.open("a") as log:
        log.write(f"{GRAPH[:40].strip()} {JOB['micro_batch']} {'dry' if DRY else 'full'}\n")
    held = []
    for done in range(megabytes_each() * JOB["micro_batch"] * 1_000_000 // PIECE_BYTES):
        held.append(b"x" * PIECE_BYTES)
        line = {"event": "step", "done": done, "total": 0, "rss_bytes": 1, "text": ""}
        print(json.dumps(line), flush=True)  # noqa: T201
    shutil.copy(JOB["inference_path"], OUT / "model.onnx")
    result = {
        "job_id": JOB["job_id"], "status": "done", "reason": "", "n_train": 40, "n_test": 20,
        "balanced_accuracy_before": 0.5, "balanced_accuracy_after": 0.97,
        "model_sha256": hashlib.sha256((OUT / "model.onnx").read_bytes()).hexdigest(),
    }  # fmt: skip
    (OUT / "result.json").write_text(json.dumps(result))


main()
