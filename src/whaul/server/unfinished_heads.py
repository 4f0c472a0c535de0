"""Sends clients away that begin a request's head and do not finish it.

The server beneath counts its one timeout from the last response, so it cannot tell a connection that a load balancer
keeps idle, which may take minutes, from a client that dribbles a head to hold a connection. The kernel can: it counts
the bytes of each connection. Bytes that came since the last response, while no request of the connection is being
answered, are a head (or a TLS handshake) that has begun.

Only Linux tells this (TCP_INFO). Elsewhere the server's own timeout bounds such a client too.
"""

import asyncio
import errno
import socket
import struct
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import Self

import structlog

from whaul.server.sockets import sockets_at
from whaul.telemetry import logs

log = structlog.get_logger()

HEAD_TIMEOUT = 15.0
"""Seconds in which a head that has begun must be there."""
LOOKS = 3.0
"""Seconds between two looks; a head may take as much longer."""
_INFO = struct.Struct("=44x I 4x I 72x Q 64x Q")
"""Of Linux's `struct tcp_info`, which only grows at its end: `tcpi_last_data_sent`, `tcpi_last_data_recv` (milliseconds
ago), `tcpi_bytes_received`, `tcpi_bytes_sent` (since Linux 4.19)."""


@dataclass(slots=True)
class _Seen:
    """A connection at the last look."""

    sent: int
    received: int
    begun: float | None
    """When a head was first seen to have begun."""


class UnfinishedHeads:
    """Looks after the connections that this process accepted at a port."""

    def __init__(self, port: int, busy: Collection[int], clock: Callable[[], float] = time.monotonic) -> None:
        """`busy` are the ports of the clients whose requests are being answered now; others may change it."""
        self._port = port
        self._busy = busy
        self._clock = clock
        self._seen: dict[int, _Seen] = {}

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Look every few seconds while the block runs, where the system can be asked."""
        if sys.platform != "linux":
            yield
            return
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOKS)
            try:
                await asyncio.to_thread(self.look, frozenset(self._busy))
            except Exception as error:  # noqa: BLE001 - no thread is left, say; calls go on, and the next look may succeed
                log.error("connections could not be looked at", error=logs.without_text(error))

    def look(self, busy: Collection[int]) -> None:
        """Close the connections whose heads have taken too long; `busy` are their clients' ports to leave alone."""
        now = self._clock()
        before, self._seen = self._seen, {}
        for inode, connection in sockets_at(self._port):
            with closing(connection), suppress(OSError):  # it may listen, end at any moment, or not be counted
                client = connection.getpeername()[1]
                info = _Info.of(connection)
                seen = before.get(inode)
                if client in busy:
                    begun = None
                elif seen is None or seen.sent != info.sent:  # a response went out: what counts is what came after it
                    begun = now if info.received_last else None
                else:
                    begun = now if seen.begun is None and info.received != seen.received else seen.begun
                self._seen[inode] = _Seen(info.sent, info.received, begun)
                if begun is not None and now - begun >= HEAD_TIMEOUT:
                    connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class _Info:
    """What the kernel knows of a connection."""

    sent: int
    received: int
    received_last: bool
    """Whether bytes came since the last that were sent."""

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """Ask; raises `OSError`."""
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        if len(info) < _INFO.size:
            raise OSError(errno.ENOTSUP, "this system does not count the bytes of a connection")
        since_sent, since_received, received, sent = _INFO.unpack(info)
        return cls(sent, received, since_received < since_sent if sent else received > 0)
