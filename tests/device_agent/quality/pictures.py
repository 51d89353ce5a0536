"""Pictures that differ, written to a folder of both classes."""

from pathlib import Path

import numpy as np
from PIL import Image

PX = 64


def picture(seed, px=PX):
    """A picture of coarse patches: no two seeds look alike, even turned or blurred."""
    rough = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((px, px), Image.Resampling.BICUBIC)


def write_folder(folder: Path, n_ok=6, n_defect=6, px=PX):
    """Write different pictures; return the folder."""
    for label, n, first in (("ok", n_ok, 0), ("defect", n_defect, 1000)):
        (folder / label).mkdir(parents=True)
        for number in range(n):
            picture(first + number, px).save(folder / label / f"{number:03}.png")
    return folder
