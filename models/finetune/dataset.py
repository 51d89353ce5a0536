"""The images of one job: listed, decoded once into a PixelStore, and split without leaks.

Near-duplicates stay on one side of the split, and a test folder loses what the training folder
holds too, mirrored, turned or re-encoded: a test image seen in training would measure memory, not
skill. What cannot be read is left out and counted. It neither turns nor weighs images; see
``batches``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract.finetune import FinetuneJob
from models.data.duplicates import Fingerprint, fingerprint, group_duplicates, straddling
from models.data.folder import (
    DataFolderError,
    LabelledFile,
    load_each,
    require_enough,
    scan_folder,
)
from models.data.split import TooFewImagesError, split
from models.finetune.batches import Indices
from models.finetune.errors import BadInputError
from models.finetune.pixels import PixelStore

# Training, validation, test; or training and validation where the test images come separately.
_THREE_PARTS = (0.6, 0.2, 0.2)
_TWO_PARTS = (0.75, 0.25)
# Hash bits within which a test image counts as a copy, as between boards (models.data.pcb_tiles).
_COPY_BITS = 4

OnImage = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of a job before any is opened; ``test`` is empty without a test folder."""

    files: Sequence[LabelledFile]
    test: Sequence[LabelledFile]

    def paths(self) -> list[Path]:
        """Return every file, in a fixed order."""
        return [file.path for file in (*self.files, *self.test)]

    @property
    def expected_train(self) -> int:
        """How many images will train if all are readable and different."""
        share = _TWO_PARTS[0] if self.test else _THREE_PARTS[0]
        return max(1, round(share * len(self.files)))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Rows of ``store`` by part; ``labels`` [all rows] are class indices."""

    store: PixelStore
    labels: Indices
    train: Indices
    validation: Indices
    test: Indices
    n_dropped: int


def list_images(job: FinetuneJob) -> Listing:
    """Return the files that the job will read; raises BadInputError."""
    try:
        files = scan_folder(Path(job.data_dir), job.classes)
        test = scan_folder(Path(job.test_dir), job.classes) if job.test_dir else []
    except DataFolderError as error:
        raise BadInputError(str(error)) from error
    if test and job.train_limit:
        kept = thinned(np.array([file.label for file in files]), job.train_limit, job.seed)
        files = [files[row] for row in kept.tolist()]
    return Listing(files=files, test=test)


def load_dataset(
    listing: Listing, store: PixelStore, job: FinetuneJob, on_image: OnImage
) -> Dataset:
    """Decode ``listing`` into ``store`` and split it; raises BadInputError and DiskFullError.

    ``on_image`` is called with the number of images read so far and may raise to end the run.
    """
    reading = _Reading(job, store, on_image)
    try:
        known = reading.read(listing.files, least=2 if listing.test else 3)
        grouping = group_duplicates([reading.prints[row] for row in known.tolist()])
        fractions = _TWO_PARTS if listing.test else _THREE_PARTS
        labels = np.array(reading.labels)
        parts = split(labels, grouping.groups, job.seed, fractions, class_names=job.classes)
        # Where look-alikes made the split distrust the hash, the test folder does too.
        bits = min(_COPY_BITS, grouping.threshold_bits)
        test = reading.read_unseen(listing.test, bits) if listing.test else parts[2]
    except (DataFolderError, TooFewImagesError) as error:
        raise BadInputError(str(error)) from error
    train, validation = _limited(labels, parts[0], parts[1], job)
    return Dataset(
        store=store,
        labels=np.array(reading.labels, np.int64),
        train=train,
        validation=validation,
        test=test,
        n_dropped=reading.n_dropped,
    )


class _Reading:
    """Appends images to the store; remembers labels and fingerprints by row."""

    def __init__(self, job: FinetuneJob, store: PixelStore, on_image: OnImage) -> None:
        self._job, self._store, self._on_image = job, store, on_image
        self.labels: list[int] = []
        self.prints: list[Fingerprint] = []
        self.n_dropped = 0

    def read(self, files: Sequence[LabelledFile], *, least: int) -> Indices:
        """Read ``files`` and return their rows; at least ``least`` of each class must do."""
        first, dropped = len(self.labels), list[Path]()
        for file, image in load_each(files, self._job.input_px, self._job.in_channels, dropped):
            self._store.append(image)
            self.labels.append(file.label)
            self.prints.append(fingerprint(image))
            self._on_image(len(self.labels))
        self.n_dropped += len(dropped)
        require_enough(self.labels[first:], self._job.classes, dropped, least=least)
        return np.arange(first, len(self.labels))

    def read_unseen(self, files: Sequence[LabelledFile], bits: int) -> Indices:
        """Read ``files`` and return the rows that are no copies of what has been read before.

        Copies are exact, or within ``bits`` of the perceptual hash; their rows stay unused.
        """
        n_known = len(self.labels)
        rows = self.read(files, least=1)
        sides = [0] * n_known + [1] * rows.size
        unseen = np.setdiff1d(rows, straddling(self.prints, sides, bits))
        self.n_dropped += rows.size - unseen.size
        left = {self.labels[row] for row in unseen.tolist()}
        for label, name in enumerate(self._job.classes):
            if label not in left:
                raise _only_copies(name, self._job)
        return unseen


def _only_copies(name: str, job: FinetuneJob) -> BadInputError:
    return BadInputError(
        f"every image of class {name} in {job.test_dir} is a copy of one in {job.data_dir} "
        "(mirrored and re-encoded copies count): add test images that are not trained on"
    )


def _limited(
    labels: Indices, train: Indices, validation: Indices, job: FinetuneJob
) -> tuple[Indices, Indices]:
    if job.train_limit is None:
        return train, validation
    n_train = round(job.train_limit * _TWO_PARTS[0])
    n_validation = job.train_limit - n_train
    return (
        train[thinned(labels[train], n_train, job.seed)],
        validation[thinned(labels[validation], n_validation, job.seed)],
    )


def thinned(labels: Indices, limit: int, seed: int) -> Indices:
    """Return at most ``limit`` sorted row numbers, classes in their shares, one each at least."""
    if labels.size <= limit:
        return np.arange(labels.size)
    rng = np.random.default_rng((seed, limit))
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        share = max(1, int(limit * rows.size / labels.size))
        kept.append(rng.permutation(rows)[:share])
    return np.sort(np.concatenate(kept))
