"""The images of one job: listed, split, decoded once into a PixelStore. It augments nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from contract.finetune import FinetuneJob
from models.finetune.batches import Indices
from models.finetune.errors import BadInputError
from models.finetune.pixels import PixelStore


@dataclass(frozen=True, kw_only=True)
class Example:
    path: Path
    label: int


@dataclass(frozen=True, kw_only=True)
class Parts:
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    n_dropped: int

    def paths(self) -> list[Path]:
        return [e.path for p in (self.train, self.validation, self.test) for e in p]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of ``store`` by part; ``labels`` [all rows] are class indices."""

    store: PixelStore
    labels: Indices
    train: Indices
    validation: Indices
    test: Indices
    n_dropped: int


def list_parts(job: FinetuneJob) -> Parts:
    rng = np.random.default_rng(job.seed)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for label, name in enumerate(job.classes):
        found = sorted((Path(job.data_dir) / name).iterdir())
        if not found:
            raise BadInputError(f"no images in {name}")
        for place, i in enumerate(rng.permutation(len(found))):
            parts[(0, 0, 0, 1, 2)[place % 5]].append(Example(path=found[i], label=label))
    return Parts(train=parts[0], validation=parts[1], test=parts[2], n_dropped=0)


def load_dataset(
    parts: Parts, store: PixelStore, job: FinetuneJob, on_image: Callable[[int], None]
) -> Dataset:
    labels: list[int] = []
    rows = []
    for part in (parts.train, parts.validation, parts.test):
        first = len(labels)
        for example in part:
            with Image.open(example.path) as image:
                small = image.convert("RGB").resize(
                    (job.input_px, job.input_px), Image.Resampling.BILINEAR
                )
            store.append(np.asarray(small, np.uint8))
            labels.append(example.label)
            on_image(len(labels))
        rows.append(np.arange(first, len(labels)))
    return Dataset(
        store=store,
        labels=np.array(labels),
        train=rows[0],
        validation=rows[1],
        test=rows[2],
        n_dropped=parts.n_dropped,
    )
