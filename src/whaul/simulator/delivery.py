"""Puts a response on the connection, block by block, and breaks the connection where a fault says so.

A block is written once the one before has left for the kernel, so a slow reader costs one block of memory. Real
faults need the transport below aiohttp's responses: FIN, RST and silence are made there.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

from aiohttp import web

from whaul.simulator import faults
from whaul.simulator.faults import Fault
from whaul.simulator.faults.effects import cut, distort_blocks
from whaul.simulator.journal import Exchange
from whaul.simulator.responses import Response

STEPS_PER_SECOND = 20
"""Writes per second of a slow body, at most."""
FLUSH_SECONDS = 2.0
"""How long a reset waits for the bytes before it to reach a client that does not read."""


class EndsWithConnection(web.StreamResponse):
    """A body without Content-Length and without chunks: only the end of the connection ends it."""

    _length_check = False  # else aiohttp chooses chunks


class Pauses:
    """The waits of a server: each ends when its time has passed, by itself or at once, and with the server."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._advanced = 0.0
        self._wakes: set[Callable[[], object]] = set()

    def now(self) -> float:
        """The time that the waits go by, in seconds."""
        return asyncio.get_running_loop().time() + self._advanced

    async def until(self, end: float) -> None:
        """Wait until `now` is this."""
        moved = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, moved.set)
        self._wakes.add(wake)
        try:
            while not self.closing.is_set() and (left := end - self.now()) > 0:
                moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await moved.wait()
        finally:
            self._wakes.discard(wake)

    def advance(self, seconds: float) -> None:
        """Let time pass at once; may be called from any thread."""
        self._advanced += seconds
        for wake in list(self._wakes):
            wake()

    def close(self) -> None:
        """End all waits, now and later."""
        self.closing.set()
        self.advance(0)


async def deliver(
    request: web.Request, planned: Response, fault: Fault | None, exchange: Exchange, *, pauses: Pauses, begun: float
) -> web.StreamResponse:
    """Send the response, or as much of it as the fault lets through."""
    if isinstance(fault, faults.Stall | faults.Reset) and fault.at is None:
        return await _break(request, fault, pauses)
    response = _framed(request, planned, fault)
    exchange.status = planned.status
    exchange.body_size = planned.content.size
    try:
        await response.prepare(request)
        async for piece in _pieces(request, planned, fault, pauses=pauses, due=begun):
            exchange.bytes_sent += len(piece)
            await response.write(piece)
    except ConnectionError:
        return response  # the client left
    if isinstance(fault, faults.Truncate | faults.Reset | faults.Stall):
        return await _break(request, fault, pauses)
    return response


async def _break(
    request: web.Request, fault: faults.Truncate | faults.Reset | faults.Stall, pauses: Pauses
) -> web.StreamResponse:
    """End the connection in the fault's way. The response is for aiohttp, which finds nobody to send it to."""
    transport = request.transport
    if transport is None:
        return web.Response()
    match fault:
        case faults.Truncate():
            transport.close()
        case faults.Reset():
            await _flushed(transport)
            # SO_LINGER of zero seconds turns the FIN of a close into an RST.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        case faults.Stall():
            # An unread upload would hide that the client left. The server cancels this when that happens.
            with suppress(ConnectionError, web.RequestPayloadError):
                async for _ in request.content.iter_any():
                    pass
            await pauses.closing.wait()
            transport.abort()
    return web.Response()


def _framed(request: web.Request, planned: Response, fault: Fault | None) -> web.StreamResponse:
    """A response whose headers announce the length that the fault wants announced."""
    size = planned.content.size
    if isinstance(fault, faults.Longer) and fault.framing != "length":
        if fault.framing == "chunked" and request.version >= (1, 1):
            chunked = web.StreamResponse(status=planned.status, headers=planned.headers)
            chunked.enable_chunked_encoding()
            return chunked
        response: web.StreamResponse = EndsWithConnection(status=planned.status, headers=planned.headers)
        response.force_close()
        return response
    response = web.StreamResponse(status=planned.status, headers=planned.headers)
    response.content_length = size + (fault.extra if isinstance(fault, faults.Longer) else 0)
    return response


async def _pieces(
    request: web.Request, planned: Response, fault: Fault | None, *, pauses: Pauses, due: float
) -> AsyncIterator[bytes]:
    """The body as the fault leaves it, at the speed that it allows; the first of it is `due` then."""
    if request.method == "HEAD" or planned.status in {204, 304}:
        return
    size = planned.content.size
    left = cut(fault, size)
    rate = fault.bytes_per_second if isinstance(fault, faults.Drip) else None
    for whole in distort_blocks(fault, planned.content.blocks(), size):
        block = whole if left is None else whole[:left]
        if left is not None:
            left -= len(block)
        if rate is None:
            if block:
                yield block
        else:
            step = max(1, rate // STEPS_PER_SECOND)
            for start in range(0, len(block), step):
                if pauses.closing.is_set():
                    return
                yield block[start : start + step]
                due += step / rate
                await pauses.until(due)
        if left == 0:
            return


async def _flushed(transport: asyncio.Transport) -> None:
    """Wait until the client's side has what was written: a reset throws away what is still on the way."""
    descriptor = transport.get_extra_info("socket").fileno()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FLUSH_SECONDS
    while not transport.is_closing() and loop.time() < deadline:
        if not transport.get_write_buffer_size() and not _in_kernel(descriptor):
            return
        await asyncio.sleep(0.002)


def _in_kernel(descriptor: int) -> int:
    """Bytes that were sent and not yet acknowledged (Linux); elsewhere unknown and taken as none."""
    if sys.platform != "linux":
        return 0
    unsent = fcntl.ioctl(descriptor, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", unsent)[0])
