"""Heads that begin and do not end, on real connections; the clock is the test's."""

import asyncio
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from whaul.server import unfinished_heads
from whaul.server.unfinished_heads import HEAD_TIMEOUT, UnfinishedHeads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many bytes came")
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Listener:
    """Accepts connections as the server does, and knows them by name."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port: int = listener.getsockname()[1]
        self.now = 0.0
        self.heads = UnfinishedHeads(self.port, (), lambda: self.now)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client's end, and ours."""
        client = socket.create_connection(("127.0.0.1", self.port))
        accepted, _ = self._listener.accept()
        return client, accepted

    def look(self, after: float, *busy: socket.socket) -> None:
        self.now += after
        self.heads.look({client.getsockname()[1] for client in busy})


@pytest.fixture
def listener() -> Iterator[Listener]:
    with closing(socket.create_server(("127.0.0.1", 0))) as opened:
        yield Listener(opened)


def send(client: socket.socket, accepted: socket.socket, data: bytes) -> None:
    """Send, and read at the other end, as the server reads what comes."""
    client.sendall(data)
    received = b""
    while len(received) < len(data):
        received += accepted.recv(65536)


def respond(client: socket.socket, accepted: socket.socket) -> None:
    accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    assert client.recv(65536)


def is_open(client: socket.socket) -> bool:
    readable, _, _ = select.select([client], [], [], 0)
    return not readable or client.recv(1, socket.MSG_PEEK) != b""


@pytest.mark.parametrize("first", [b"", HEAD])
def test_a_dribbled_head_is_ended(listener: Listener, first: bytes) -> None:
    client, accepted = listener.connect()
    with closing(client), closing(accepted):
        if first:
            send(client, accepted, first)
            listener.look(0, client)
            respond(client, accepted)
            listener.look(60)  # idle meanwhile
        send(client, accepted, b"G")
        listener.look(0)
        for _ in range(3):
            assert is_open(client)
            send(client, accepted, b"E")
            listener.look(HEAD_TIMEOUT / 3)
        assert not is_open(client)


def test_a_head_that_stops_is_ended(listener: Listener) -> None:
    client, accepted = listener.connect()
    with closing(client), closing(accepted):
        send(client, accepted, HEAD[:-2])
        listener.look(0)
        listener.look(HEAD_TIMEOUT)
        assert not is_open(client)


def test_idle_connections_are_left_alone(listener: Listener) -> None:
    fresh, accepted_fresh = listener.connect()
    used, accepted_used = listener.connect()
    with closing(fresh), closing(accepted_fresh), closing(used), closing(accepted_used):
        listener.look(0)
        send(used, accepted_used, HEAD)
        respond(used, accepted_used)  # between two looks
        for _ in range(5):
            listener.look(HEAD_TIMEOUT)
        assert is_open(fresh)
        assert is_open(used)


def test_a_request_that_is_being_answered_is_left_alone(listener: Listener) -> None:
    client, accepted = listener.connect()
    with closing(client), closing(accepted):
        send(client, accepted, HEAD)
        for _ in range(5):
            listener.look(HEAD_TIMEOUT, client)
        respond(client, accepted)
        listener.look(HEAD_TIMEOUT)
        listener.look(HEAD_TIMEOUT)
        assert is_open(client)


def test_each_head_has_the_whole_time(listener: Listener) -> None:
    client, accepted = listener.connect()
    with closing(client), closing(accepted):
        for _ in range(4):
            send(client, accepted, HEAD[:5])
            listener.look(0)
            listener.look(HEAD_TIMEOUT - 1)
            send(client, accepted, HEAD[5:])
            respond(client, accepted)
            listener.look(0)
        assert is_open(client)


def test_connections_at_other_ports_are_left_alone(listener: Listener) -> None:
    client, accepted = listener.connect()
    with closing(client), closing(accepted):
        send(client, accepted, b"G")
        elsewhere = UnfinishedHeads(listener.port + 1, (), lambda: listener.now)
        for _ in range(3):
            listener.now += HEAD_TIMEOUT
            elsewhere.look(())
        assert is_open(client)


@pytest.mark.anyio
async def test_a_look_that_fails_ends_neither_the_server_nor_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, looked_again = asyncio.get_running_loop(), asyncio.Event()
    failures = [RuntimeError("can't start new thread")]

    def clock() -> float:
        if failures:
            raise failures.pop()
        loop.call_soon_threadsafe(looked_again.set)
        return 0.0

    monkeypatch.setattr(unfinished_heads, "LOOKS", 0)
    with capture_logs() as lines:
        async with UnfinishedHeads(1, (), clock).watched():
            await looked_again.wait()
    assert [line["event"] for line in lines] == ["connections could not be looked at"]
    assert lines[0]["error"][0].startswith("builtins.RuntimeError at ")
