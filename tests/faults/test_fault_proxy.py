"""The proxy itself: it does what it is told, to the byte."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from harness.waiting import PATIENCE
from tools.faults.fault_proxy import Fault, FaultProxy, Network, network

BODY = bytes(range(256)) * 2048  # half a MiB
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


class Server(threading.Thread):
    """Reads until a blank line, and answers `BODY` to GET; keeps what came."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.received: list[bytes] = []
        self.closed = threading.Event()
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        number = len(self.received)
        self.received.append(b"")
        with connection:
            try:
                while data := connection.recv(65536):
                    self.received[number] += data
                    if data.startswith(b"GET"):
                        connection.sendall(HEAD + BODY)
            except OSError:
                pass
        self.closed.set()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.listener.close()


@pytest.fixture(scope="module")
def wires() -> Iterator[Network]:
    with network() as running:
        yield running


@pytest.fixture
def proxy(server: Server, wires: Network) -> FaultProxy:
    return wires.proxy(server.port, "test")


def fetch(proxy: FaultProxy) -> tuple[bytes, bool]:
    """GET through the proxy: what came, and whether the connection was reset."""
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        came = b""
        try:
            while len(came) < len(HEAD) + len(BODY) and (data := connection.recv(65536)):
                came += data
        except ConnectionResetError:
            return came, True
        return came, False


def test_without_a_fault_everything_passes(proxy: FaultProxy) -> None:
    assert fetch(proxy) == (HEAD + BODY, False)


@pytest.mark.parametrize("at", [0, 1, 1000, 262_144, len(BODY) - 1])
def test_a_reset_comes_after_exactly_so_many_bytes_of_the_body(proxy: FaultProxy, at: int) -> None:
    struck = proxy.script(Fault(kind="reset", match=b"GET", at=at))
    assert fetch(proxy) == (HEAD + BODY[:at], True)
    assert struck.hits == 1
    assert fetch(proxy) == (HEAD + BODY, False), "it strikes once"


def test_a_reset_before_the_head_lets_nothing_through(proxy: FaultProxy) -> None:
    proxy.script(Fault(kind="reset", match=b"GET"))
    assert fetch(proxy) == (b"", True)


def test_a_close_ends_the_body_in_good_order(proxy: FaultProxy) -> None:
    proxy.script(Fault(kind="close", match=b"GET", at=77))
    assert fetch(proxy) == (HEAD + BODY[:77], False)


def test_a_corruption_changes_one_bit_of_one_byte(proxy: FaultProxy) -> None:
    proxy.script(Fault(kind="corrupt", match=b"GET", at=300_000))
    came, _ = fetch(proxy)
    body = came[len(HEAD) :]
    different = [place for place in range(len(BODY)) if body[place] != BODY[place]]
    assert different == [300_000]
    assert (body[300_000] ^ BODY[300_000]).bit_count() == 1


def test_a_stall_lets_so_much_through_and_then_is_silent_both_ways(proxy: FaultProxy, server: Server) -> None:
    struck = proxy.script(Fault(kind="stall", match=b"GET", at=10))
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        came = b""
        while len(came) < len(HEAD) + 10:
            came += connection.recv(65536)
        assert struck.reached.wait(PATIENCE)
        connection.sendall(b"more")
        assert fetch(proxy) == (HEAD + BODY, False)  # it has been round since
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
    assert came == HEAD + BODY[:10]
    assert server.received == [b"GET / HTTP/1.1\r\n\r\n"] * 2


def test_a_fault_of_the_way_up_counts_the_bytes_of_the_request(proxy: FaultProxy, server: Server) -> None:
    proxy.script(Fault(kind="close", way="up", match=b"PUT", at=5))
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\nContent-Le")
        connection.sendall(b"ngth: 9\r\n\r")
        connection.sendall(b"\n123456789")
        assert server.closed.wait(PATIENCE)
    assert server.received == [b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12345"]


def test_what_is_held_goes_on_when_it_is_released(proxy: FaultProxy, server: Server) -> None:
    struck = proxy.script(Fault(kind="hold", way="up", match=b"PUT", at=1))
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"PUT / HTTP/1.1\r\n\r\n123")
        connection.shutdown(socket.SHUT_WR)
        assert struck.reached.wait(PATIENCE)
        assert not server.closed.is_set()
        struck.release()
        assert server.closed.wait(PATIENCE)
    assert server.received == [b"PUT / HTTP/1.1\r\n\r\n123"]


def test_a_fault_waits_for_its_request_on_a_connection_that_is_kept(proxy: FaultProxy, server: Server) -> None:
    struck = proxy.script(Fault(kind="close", way="up", match=b"PUT", at=1))
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        left = len(HEAD) + len(BODY)
        while left:
            left -= len(connection.recv(65536))
        assert not struck.hits
        connection.sendall(b"PUT / HTTP/1.1\r\n\r\nab")
        assert server.closed.wait(PATIENCE)
    assert server.received == [b"GET / HTTP/1.1\r\n\r\nPUT / HTTP/1.1\r\n\r\na"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="latency", match=b"GET", seconds=0.2, jitter=0.1),
        Fault(kind="bandwidth", match=b"GET", bytes_per_second=len(BODY) / 0.25),
    ],
)
def test_slowness_delays_and_changes_nothing(proxy: FaultProxy, fault: Fault) -> None:
    proxy.script(fault)
    started = time.monotonic()
    assert fetch(proxy) == (HEAD + BODY, False)
    assert time.monotonic() - started >= 0.2


def test_a_refusal_is_a_refusal_and_ends_on_the_same_port(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
    proxy.accept()
    assert fetch(proxy) == (HEAD + BODY, False)


def test_dropping_resets_what_is_open(proxy: FaultProxy, server: Server) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as connection:
        connection.sendall(b"PUT")
        while not server.received or not server.received[0]:
            time.sleep(0.01)
        proxy.drop()
        assert proxy.open_connections == 0
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
