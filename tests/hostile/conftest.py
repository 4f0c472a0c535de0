"""What the hostile tests share: an event loop, the outbound client, and servers that nobody should call."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from harness.hostile_gateway import APP_SECRET, SLOW, TOKEN, Target, attacked, connected, linked
from harness.peer import Peer, listening
from harness.world import World
from whaul.outbound.http import HttpClient
from whaul.simulator import simulator_in_thread


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for all examples of all properties."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def http(loop: asyncio.Runner) -> Iterator[HttpClient]:
    async def opened() -> HttpClient:
        return HttpClient()

    client = loop.run(opened())
    yield client
    loop.run(client.close())


@pytest.fixture(scope="session")
def running_peer() -> Iterator[Peer]:
    with listening() as peer:
        yield peer


@pytest.fixture(scope="session")
def running_stranger() -> Iterator[Peer]:
    with listening() as peer:
        yield peer


@pytest.fixture
def peer(running_peer: Peer) -> Peer:
    """A server that may be called, and answers badly."""
    running_peer.reset()
    return running_peer


@pytest.fixture
def stranger(running_stranger: Peer) -> Peer:
    """A server that may not be called."""
    running_stranger.reset()
    return running_stranger


@pytest.fixture(scope="session")
def store() -> Iterator[Peer]:
    """The store of `target`."""
    with listening() as peer:
        yield peer


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with simulator_in_thread(token=TOKEN, app_secret=APP_SECRET) as simulator:
        yield linked(simulator, APP_SECRET, tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def target(account: World, store: Peer) -> Iterator[Target]:
    """A gateway whose port is attacked."""
    with attacked(account, store) as running:
        yield running


@pytest.fixture(scope="session")
def slow(target: Target) -> Iterator[dict[str, socket.socket]]:
    """Clients that stop in the middle of a request."""
    with ExitStack() as stack:
        clients = {name: stack.enter_context(closing(connected(target.port))) for name in SLOW}
        for name, client in clients.items():
            client.sendall(SLOW[name])
        yield clients
