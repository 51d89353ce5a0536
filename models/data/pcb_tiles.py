"""Photographed PCB tiles by board: ``BOARD/ok/*.jpg`` and ``BOARD/defect/*.jpg``.

Boards are the unit of every split: tiles of one board resemble each other, flipped copies included,
so a random split would measure memory. What even a split by board can leak, a picture that stands
on two boards, `without_copies` takes out. Runs with numpy and Pillow; it downloads nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.data.duplicates import Fingerprint, fingerprint, straddling
from models.data.folder import LabelledFile, Pixels, load_each, load_image, scan_folder

CLASSES = ("ok", "defect")
COPY_BITS = 4
"""Hash bits within which a tile of another board counts as a copy."""

_FINGERPRINT_PX = 64


class UnknownBoardError(ValueError):
    """A board that the folder does not hold."""

    def __init__(self, board: str, known: Sequence[str]) -> None:
        self.board = board
        super().__init__(f"no board {board!r}: choose one of {', '.join(known) or 'none at all'}")


@dataclass(frozen=True)
class Board:
    """One board's tiles: label 0 is ``ok``, 1 is ``defect``."""

    name: str
    files: tuple[LabelledFile, ...]


def default_root() -> Path:
    """Return where the tiles lie beside a checkout of the project."""
    return Path(__file__).parents[3] / "shared" / "data" / "pcb_tiles"


def load_boards(root: Path) -> tuple[Board, ...]:
    """Return every sub-folder with tiles, by name. Raises `folder.DataFolderError`."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir())
    return tuple(Board(entry.name, tuple(scan_folder(entry, CLASSES))) for entry in folders)


def leave_one_board_out(boards: Sequence[Board]) -> Iterator[tuple[Board, tuple[Board, ...]]]:
    """Yield each board as the one left out, with all the others."""
    for board in boards:
        yield hold_out(boards, board.name)


def hold_out(boards: Sequence[Board], name: str) -> tuple[Board, tuple[Board, ...]]:
    """Return the named board and the others. Raises `UnknownBoardError`."""
    chosen = [board for board in boards if board.name == name]
    if not chosen:
        raise UnknownBoardError(name, [board.name for board in boards])
    return chosen[0], tuple(board for board in boards if board.name != name)


def sample(board: Board, per_class: int, seed: int) -> Board:
    """Return the board with at most ``per_class`` tiles of each class, drawn by ``seed``."""
    rng = np.random.default_rng((9, seed))
    kept: list[LabelledFile] = []
    for label in range(len(CLASSES)):
        files = [file for file in board.files if file.label == label]
        order = np.sort(rng.permutation(len(files))[:per_class])
        kept.extend(files[int(k)] for k in order)
    return Board(board.name, tuple(kept))


def load_tiles(
    files: Sequence[LabelledFile], px: int
) -> tuple[Pixels, npt.NDArray[np.int64], list[Path]]:
    """Return images uint8 [N, px, px, 3], labels int64 [N] and the paths that were unreadable."""
    dropped: list[Path] = []
    read = list(load_each(files, px, 3, dropped))
    images = np.stack([image for _, image in read]) if read else np.empty((0, px, px, 3), np.uint8)
    return images, np.array([file.label for file, _ in read], np.int64), dropped


def without_copies(training: Sequence[Board], tested: Board) -> tuple[tuple[Board, ...], int]:
    """Drop every training tile that is a copy of a tested one; return the boards and how many.

    Copies are exact, or within `COPY_BITS` of the perceptual hash, flips and turns included.
    """
    training_files = [file for board in training for file in board.files]
    prints = fingerprints([*training_files, *tested.files])
    sides = [0] * len(training_files) + [1] * len(tested.files)
    copies = {k for k in straddling(prints, sides, COPY_BITS) if sides[k] == 0}
    dropped = {training_files[k].path for k in copies}
    cleaned = tuple(
        Board(board.name, tuple(file for file in board.files if file.path not in dropped))
        for board in training
    )
    return cleaned, len(dropped)


def fingerprints(files: Sequence[LabelledFile]) -> list[Fingerprint]:
    """Return each file's fingerprint, taken from its grey image at one small size."""
    return [fingerprint(load_image(file.path, _FINGERPRINT_PX, 1)) for file in files]
