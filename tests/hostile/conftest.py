"""What the hostile tests share: an event loop, the outbound client, and servers that nobody should call."""

import asyncio
from collections.abc import Iterator

import pytest
from hostile_peer import Peer, listening

from whaul.http import HttpClient


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
