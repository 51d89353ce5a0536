"""Writes one generated board to disk, a folder per class, as a factory would hand it over."""

from pathlib import Path

import cv2
import numpy as np

from models.data.generator.render import Image
from models.data.generator.tiles import DEFECT_LABEL, OK_LABEL, generate_tile

_JPEG_QUALITY = 95


def write_board(
    folder: Path, board_seed: int, *, n_ok: int, n_defect: int, px: int, seed: int
) -> list[Path]:
    """Write ``ok/*.jpg`` and ``defect/*.jpg`` of one board; return the files in order.

    Another ``seed`` gives other tiles of the same board. Existing files of that name are replaced.
    """
    rng = np.random.default_rng((5, board_seed, seed))
    written: list[Path] = []
    for label, count in ((OK_LABEL, n_ok), (DEFECT_LABEL, n_defect)):
        target = folder / label
        target.mkdir(parents=True, exist_ok=True)
        for number, tile_seed in enumerate(rng.integers(2**62, size=count)):
            file = target / f"board{board_seed}-{label}-{number:05d}.jpg"
            _write_jpeg(file, generate_tile(board_seed, int(tile_seed), label, px))
            written.append(file)
    return written


def _write_jpeg(file: Path, image: Image) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    packed = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    file.write_bytes(packed.tobytes())
