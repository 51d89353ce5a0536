"""What the end-to-end tests share: the starter release, and folders of tiles."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app import database
from app.database import writing
from app.main import create_app
from app.services import catalogue, policies, tokens
from app.settings import Settings
from app.store import LocalStore
from contract.policy import PolicyBody
from models.data.generator.boards import write_board
from models.release import read_release
from tests.device_agent.conftest import Clock

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "releases" / "starter"
REAL_BOARDS = ROOT.parent / "shared" / "data" / "pcb_tiles"
TILES_PER_CLASS = 40
UNSEEN_BOARD = 9200


@contextmanager
def fleet_server(folder: Path, release_folder: Path, policy: PolicyBody):
    """Run the real application in-process; yield its client and an enrolment token for one box."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'fleet.db'}"
    engine = database.make_engine(url)
    database.migrate(engine)
    engine.dispose()
    app = create_app(Settings(data_dir=folder, database_url=url), clock=Clock().now)
    with TestClient(app, base_url="http://fleet.test") as client:
        release, store = catalogue.read_release(release_folder), LocalStore(folder / "artifacts")
        catalogue.store_files(release_folder, release, store)
        with writing(app.state.runtime.engine) as tx:
            catalogue.publish(tx, release, store.location, Clock().now())
            policies.create(tx, "of-the-test", policy, Clock().now())
            token = tokens.issue(tx, "enrol", now=Clock().now(), uses=1)
        yield client, token


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
