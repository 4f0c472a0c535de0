"""A plain HTTP client for the simulator's tests: the standard library's, so that faults arrive unsoftened."""

import json
import queue
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from harness.client import Reply, send
from harness.waiting import PATIENCE
from whaul.simulator import Exchange, Simulator, simulator_in_thread

JPEG, VOICE, PDF = "100000000000001", "100000000000002", "100000000000003"
MISSING = "999999999999999"


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    sim: Simulator
    clock: Clock
    finished: "queue.Queue[Exchange]" = field(default_factory=queue.Queue)

    def send(self, method: str, target: str, *, token: str | None = None, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own; `target` is a path or a whole URL."""
        parts = urlsplit(target)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(self.sim.port, method, path, body, {**bearer(token), **named})

    def graph(self, target: str, method: str = "GET", **kwargs: Any) -> Reply:
        return self.send(method, f"/v25.0/{target}", **{"token": self.sim.token, **kwargs})

    def url(self, media_id: str = JPEG) -> str:
        return str(self.graph(media_id).json()["url"])

    def download(self, url: str, **kwargs: Any) -> Reply:
        return self.send("GET", url, **{"token": self.sim.token, **kwargs})

    def control(self, method: str, path: str, value: Any = None, **headers: str) -> Reply:
        body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        return self.send(method, f"/_simulator/{path}", body=body, **headers)

    def over(self, kind: str) -> Exchange:
        """Wait until the server is done with a request that a fault of this kind hit."""
        while True:
            exchange = self.finished.get(timeout=PATIENCE)
            if exchange.fault == kind:
                return exchange

    @contextmanager
    def raw(self, url: str) -> Iterator[socket.socket]:
        """A socket on which the request for a download URL has been sent."""
        with closing(socket.create_connection(("127.0.0.1", self.sim.port), timeout=PATIENCE)) as connection:
            parts = urlsplit(url)
            request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n"
            connection.sendall(f"{request}Authorization: Bearer {self.sim.token}\r\n\r\n".encode())
            yield connection


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@contextmanager
def running(**options: Any) -> Iterator[Client]:
    """A simulator with a clock that stands still, and a client for it."""
    clock = Clock()
    finished: queue.Queue[Exchange] = queue.Queue()
    with simulator_in_thread(clock=clock, on_request=finished.put, **options) as sim:
        yield Client(sim, clock, finished)


def read_until_reset(connection: socket.socket) -> bytes:
    received = b""
    try:
        while block := connection.recv(65536):
            received += block
    except ConnectionResetError:
        return received
    raise AssertionError("the connection ended in good order")


def read_until_end(connection: socket.socket) -> bytes:
    received = b""
    while block := connection.recv(65536):
        received += block
    return received
