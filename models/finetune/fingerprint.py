"""Names a job by everything that its result depends on, so that checkpoints cannot be mixed up.

The artifacts count by content, the images by name, size and time of change. Where results go, and
how much memory they may take, do not count.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from contract.finetune import FinetuneJob
from models.finetune.files import sha256_of

_FORMAT = 1
_IGNORED = {"output_dir", "ram_cap_bytes", "rival_path", "rival_seen_path"}
_ARTIFACTS = ("weights_path", "inference_path", "train_graph_path")


def fingerprint(job: FinetuneJob, images: Iterable[Path]) -> str:
    """Return a SHA-256 (hex) over the job, its artifacts and its images."""
    fields = {k: v for k, v in dataclasses.asdict(job).items() if k not in _IGNORED}
    fields |= {name: sha256_of(Path(fields[name])) for name in _ARTIFACTS}
    digest = hashlib.sha256(json.dumps([_FORMAT, fields], sort_keys=True).encode())
    for path in images:
        facts = path.stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode("utf-8", "replace"))
    return digest.hexdigest()
