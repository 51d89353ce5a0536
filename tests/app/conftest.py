import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import database
from app.database import writing
from app.main import create_app
from app.services import catalogue, tokens
from app.settings import Settings
from app.store import LocalStore
from tests.app import postgres
from tests.app.release_maker import DEFAULT_POINTS, release_folder
from tests.app.world import Clock, Server

NUMBERS = count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = database.make_engine(f"sqlite:///{path}")
    database.migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[postgres.Cluster]:
    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.cluster() as cluster:
        cluster.run("CREATE DATABASE template_fleet")
        engine = database.make_engine(cluster.url("template_fleet"))
        database.migrate(engine)
        engine.dispose()
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give a fresh, migrated database: the same tests run on both kinds."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "fleet.db")
        yield f"sqlite:///{tmp_path / 'fleet.db'}"
        return
    cluster: postgres.Cluster = request.getfixturevalue("postgres_cluster")
    name = f"fleet_{next(NUMBERS)}"
    cluster.run(f"CREATE DATABASE {name} TEMPLATE template_fleet STRATEGY FILE_COPY")
    yield cluster.url(name)
    cluster.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=database_url)  # type: ignore[arg-type]


@pytest.fixture
def release_dir(tmp_path: Path) -> Path:
    return release_folder(tmp_path / "release-1")


def load(server: Server, folder: Path) -> None:
    """Load a release as the command line does."""
    store = LocalStore(server.settings.data_dir / "artifacts")
    release = catalogue.read_release(folder)
    catalogue.store_files(folder, release, store)
    with writing(server.engine) as tx:
        catalogue.publish(tx, release, store.location, server.clock())


@pytest.fixture
def empty_server(settings: Settings) -> Iterator[Server]:
    """Give a server with a migrated database and no release."""
    clock = Clock()
    app = create_app(settings, clock=clock, jitter=lambda: 0.5)
    engine = app.state.runtime.engine
    with writing(engine) as tx:
        operator = tokens.issue(tx, "operator", now=clock())
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Server(client, engine, settings, clock, operator)


@pytest.fixture
def load_release(empty_server: Server, tmp_path: Path) -> Any:
    """Return a function that makes and loads a release of this number and these points."""

    def make(number: int = 1, points: Any = DEFAULT_POINTS) -> None:
        load(empty_server, release_folder(tmp_path / f"made-{number}", number, points))

    return make


@pytest.fixture
def server(empty_server: Server, load_release: Any) -> Server:
    """Give a server with release 1 loaded."""
    load_release()
    return empty_server
