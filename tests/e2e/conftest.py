"""What the end-to-end tests share: the starter release, and folders of tiles."""

import shutil
from pathlib import Path

import pytest

from models.data.generator.boards import write_board
from models.release import read_release

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "releases" / "starter"
REAL_BOARDS = ROOT.parent / "shared" / "data" / "pcb_tiles"
TILES_PER_CLASS = 40
UNSEEN_BOARD = 9200


@pytest.fixture(scope="session")
def starter():
    return read_release(STARTER)


@pytest.fixture(scope="session")
def generated_tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    counts = {"n_ok": TILES_PER_CLASS, "n_defect": TILES_PER_CLASS}
    write_board(folder, UNSEEN_BOARD, **counts, px=224, seed=0)
    return folder


@pytest.fixture(scope="session")
def real_tiles(tmp_path_factory):
    board = REAL_BOARDS / "board-e"
    if not board.is_dir():
        pytest.skip("the photographs of real boards are not beside the project")
    folder = tmp_path_factory.mktemp("real")
    for label in ("ok", "defect"):
        (folder / label).mkdir()
        for path in sorted((board / label).iterdir())[:TILES_PER_CLASS]:
            shutil.copy(path, folder / label)
    return folder
