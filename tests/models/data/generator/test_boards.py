"""A generated board on disk is what the folder loader reads."""

import numpy as np

from models.data.folder import load_image, scan_folder
from models.data.generator import generate_tile
from models.data.generator.boards import write_board


def test_writes_one_folder_per_class_that_the_loader_reads(tmp_path):
    written = write_board(tmp_path, 77, n_ok=3, n_defect=2, px=48, seed=0)
    found = scan_folder(tmp_path, ("ok", "defect"))
    assert [file.path for file in found] == written
    assert [file.label for file in found] == [0, 0, 0, 1, 1]
    assert load_image(found[0].path, 48, 3).shape == (48, 48, 3)


def test_another_seed_gives_other_tiles_of_the_same_board(tmp_path):
    one, two = (
        write_board(tmp_path / str(seed), 77, n_ok=2, n_defect=0, px=48, seed=seed)
        for seed in (0, 1)
    )
    assert one[0].read_bytes() != two[0].read_bytes()
    again = write_board(tmp_path / "again", 77, n_ok=2, n_defect=0, px=48, seed=0)
    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in again]


def test_what_is_written_is_close_to_what_was_drawn(tmp_path):
    (file,) = write_board(tmp_path, 5, n_ok=1, n_defect=0, px=64, seed=3)
    tile_seed = int(np.random.default_rng((5, 5, 3)).integers(2**62, size=1)[0])
    drawn = generate_tile(5, tile_seed, "ok", 64).astype(int)
    assert np.abs(load_image(file, 64, 3) - drawn).mean() < 6
