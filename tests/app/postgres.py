"""A throw-away PostgreSQL on a Unix socket: initialised once, one database per test by copying."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SETTINGS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses="
READY_WITHIN_S = 30


def missing() -> str | None:
    """Say why there can be no PostgreSQL here, or None."""
    if not BINARIES:
        return "PostgreSQL is not installed (no /usr/lib/postgresql/*/bin)"
    if os.geteuid() == 0 and _unprivileged() is None:
        return "PostgreSQL refuses to run as root and there is no user 'postgres'"
    return None


def _unprivileged() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@dataclass(frozen=True)
class Cluster:
    folder: Path
    user: str

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.folder}"

    def run(self, statement: str) -> None:
        where = f"dbname=postgres user={self.user} host={self.folder}"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Give a running cluster; root drops to the user 'postgres', whom PostgreSQL demands."""
    owner = _unprivileged() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="paretofleet-pg-"))
    if owner:
        shutil.chown(folder, owner)
    found = Cluster(folder, owner or pwd.getpwuid(os.geteuid()).pw_name)
    _run(owner, "initdb", "-D", f"{folder}/data", "--auth=trust", "--no-sync", "-U", found.user)
    server = subprocess.Popen(
        [BINARIES[0] / "postgres", "-D", f"{folder}/data", "-k", folder, *SETTINGS.split()],
        user=owner,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(found)
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(READY_WITHIN_S)
        shutil.rmtree(folder, ignore_errors=True)


def _run(owner: str | None, program: str, *arguments: str) -> None:
    command = [BINARIES[0] / program, *arguments]
    subprocess.run(command, user=owner, cwd="/", check=True, capture_output=True)


def _wait(found: Cluster) -> None:
    """Return when the server answers; it tells nobody, so it is asked."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            found.run("SELECT 1")
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
