"""Downloads from servers that truncate, lie, drip and never end: real sockets, real HTTP client."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.release import Artifact
from device_agent.disk.files import named_disk_errors
from device_agent.errors import (
    ArtifactError,
    DiskFullError,
    NonsenseError,
    RefusedError,
    ServerAwayError,
    TruncatedError,
)
from device_agent.server.client import ServerClient, open_http
from device_agent.server.fetch import Cache

DATA = bytes(range(256)) * 2000
SHA = hashlib.sha256(DATA).hexdigest()
FILE = Artifact(kind="weights", sha256=SHA, length_bytes=len(DATA))


class RawServer:
    """Answers each connection with what ``script`` writes; keeps the requests' heads."""

    def __init__(self, script: Callable[[socket.socket, str, int], None]) -> None:
        self.script = script
        self.heads: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(4096)
                self.heads.append(head.decode())
                self.script(connection, head.decode(), len(self.heads))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    servers: list[RawServer] = []

    def start(script: Callable[[socket.socket, str, int], None]) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def fetch(server: RawServer, folder: Path, **changes: object) -> Path:
    cache = Cache(folder, **changes)  # type: ignore[arg-type]
    with open_http(server.url) as http:
        cache.fetch_all([FILE], ServerClient(http, "token").artifact)
    return cache.path(FILE)


def start_of(head: str) -> int:
    for line in head.splitlines():
        if line.lower().startswith("range: bytes="):
            return int(line.split("=")[1].rstrip("-"))
    return 0


def whole(connection: socket.socket, head: str, _: int) -> None:
    start = start_of(head)
    body = DATA[start:]
    status = "206 Partial Content" if start else "200 OK"
    part = f"Content-Range: bytes {start}-{len(DATA) - 1}/{len(DATA)}\r\n" if start else ""
    connection.sendall(f"HTTP/1.1 {status}\r\n{part}Content-Length: {len(body)}\r\n\r\n".encode())
    connection.sendall(body)


def fixed(answer: bytes) -> Callable[[socket.socket, str, int], None]:
    return lambda connection, _, __: connection.sendall(answer)


def test_a_whole_file_appears_under_its_hash(serve, tmp_path):
    assert fetch(serve(whole), tmp_path).read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == [SHA]


def test_what_is_there_is_not_asked_for_again(serve, tmp_path):
    server = serve(whole)
    fetch(server, tmp_path)
    fetch(server, tmp_path)

    assert len(server.heads) == 1


def test_no_compression_is_asked_for(serve, tmp_path):
    server = serve(whole)
    fetch(server, tmp_path)

    assert "accept-encoding: identity" in server.heads[0].lower()


def test_a_damaged_file_in_the_cache_is_fetched_anew(serve, tmp_path):
    (tmp_path / SHA).write_bytes(b"\0" * len(DATA))

    assert fetch(serve(whole), tmp_path).read_bytes() == DATA


def test_it_resumes_where_a_connection_broke(serve, tmp_path):
    def breaks_twice(connection: socket.socket, head: str, number: int) -> None:
        if number > 2:
            return whole(connection, head, number)
        start = start_of(head)
        part = f"Content-Range: bytes {start}-{len(DATA) - 1}/{len(DATA)}\r\n" if start else ""
        status = "206 Partial Content" if start else "200 OK"
        length = len(DATA) - start
        connection.sendall(f"HTTP/1.1 {status}\r\n{part}Content-Length: {length}\r\n\r\n".encode())
        return connection.sendall(DATA[start : start + 100_000])

    server = serve(breaks_twice)

    assert fetch(server, tmp_path).read_bytes() == DATA
    assert [start_of(head) for head in server.heads] == [0, 100_000, 200_000]


def test_it_resumes_across_restarts(serve, tmp_path):
    (tmp_path / f"{SHA}.part").write_bytes(DATA[:70_000])
    server = serve(whole)

    assert fetch(server, tmp_path).read_bytes() == DATA
    assert start_of(server.heads[0]) == 70_000


def test_a_server_that_ignores_the_range_is_read_from_the_start(serve, tmp_path):
    (tmp_path / f"{SHA}.part").write_bytes(b"x" * 70_000)
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\n\r\n".encode() + DATA

    assert fetch(serve(fixed(answer)), tmp_path).read_bytes() == DATA


def test_a_short_body_without_a_length_is_no_file(serve, tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA[:5000]

    with pytest.raises(TruncatedError, match="5000 of 512000"):
        fetch(serve(fixed(answer)), tmp_path)
    assert not (tmp_path / SHA).exists()
    assert (tmp_path / f"{SHA}.part").read_bytes() == DATA[:5000]


@pytest.mark.parametrize(
    "body", [DATA[:-1] + b"\0", DATA + b"!", DATA * 2], ids=["flipped", "one-more", "twice"]
)
def test_what_is_not_as_promised_is_removed(serve, tmp_path, body):
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    with pytest.raises(ArtifactError):
        fetch(serve(fixed(answer)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_poisoned_part_does_not_stay(serve, tmp_path):
    (tmp_path / f"{SHA}.part").write_bytes(b"evil" * 10)
    server = serve(whole)
    with pytest.raises(ArtifactError, match="forged or damaged"):
        fetch(server, tmp_path)

    assert fetch(server, tmp_path).read_bytes() == DATA


def test_an_endless_body_is_cut_at_the_promised_length(serve, tmp_path):
    sent = 0

    def endless(connection: socket.socket, _: str, __: int) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while sent < 100_000_000:
            sent += connection.send(b"\0" * 65_536)

    with pytest.raises(ArtifactError, match="longer than"):
        fetch(serve(endless), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert sent < 50_000_000


def test_a_drip_is_given_up_and_kept_for_later(serve, tmp_path):
    ticks = iter(range(0, 100_000, 50))

    def drip(connection: socket.socket, _: str, __: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(50):
            connection.sendall(b"1\r\n" + DATA[number : number + 1] + b"\r\n")

    with pytest.raises(TruncatedError, match="drips"):
        fetch(serve(drip), tmp_path, monotonic=lambda: float(next(ticks)))


def test_a_gzip_bomb_is_not_opened(serve, tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"

    with pytest.raises(NonsenseError, match="compressed with gzip"):
        fetch(serve(fixed(answer)), tmp_path)


def test_a_part_from_the_wrong_place_is_refused(serve, tmp_path):
    (tmp_path / f"{SHA}.part").write_bytes(DATA[:1000])
    answer = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-10/512000\r\n"
        b"Content-Length: 6\r\n\r\nabcdef"
    )
    with pytest.raises(ArtifactError, match="wrong place"):
        fetch(serve(fixed(answer)), tmp_path)


def test_a_missing_file_is_told_in_the_server_s_words(serve, tmp_path):
    body = b'{"type":"t","title":"no","status":404,"detail":"no such artifact"}'
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    with pytest.raises(RefusedError, match="no such artifact"):
        fetch(serve(fixed(head + body)), tmp_path)


def test_a_closed_door_is_a_server_away(tmp_path, serve):
    server = serve(whole)
    server.close()

    with pytest.raises(ServerAwayError):
        fetch(server, tmp_path)


def test_the_disk_is_looked_at_first(serve, tmp_path):
    server = serve(whole)

    with pytest.raises(DiskFullError, match=r"16\.5 MB are needed"):
        fetch(server, tmp_path, free_bytes=lambda _: 1_000_000)
    assert server.heads == []


def test_a_disk_that_fills_up_on_the_way_has_a_name():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(DiskFullError, match="nothing was lost"),
        named_disk_errors(full),
        full.open("wb", buffering=0) as stream,
    ):
        stream.write(b"x")


def test_only_what_nobody_needs_is_collected(tmp_path):
    for name in (SHA, "b" * 64, f"{'c' * 64}.part"):
        (tmp_path / name).write_bytes(b"")

    assert Cache(tmp_path).collect({SHA}) == ["b" * 64, f"{'c' * 64}.part"]
    assert [path.name for path in tmp_path.iterdir()] == [SHA]
