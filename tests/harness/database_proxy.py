"""Stands between gateways and PostgreSQL: ends the connections, falls silent, or speaks TLS."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from harness.waiting import PATIENCE

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST"""


@dataclass
class DatabaseProxy:
    target: int
    tls: ssl.SSLContext | None = None
    port: int = 0
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        self._do(self._cut())

    def stall(self) -> None:
        """Take connections, and pass nothing on."""
        self._do(self._set_flowing(False))

    def restore(self) -> None:
        """Pass on again; connections that stalled are ended."""
        self._do(self._restore())

    def _do(self, work: "asyncio._CoroutineLike[None]") -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    async def listen(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _restore(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._flowing.set()
        if self._server is None:
            await self.listen()

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.tls is not None:
                if await reader.readexactly(8) != SSL_REQUEST:
                    return
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self.tls)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            try:
                ways = [
                    asyncio.create_task(self._pump(reader, far_writer)),
                    asyncio.create_task(self._pump(far_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                far_writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


@contextmanager
def database_proxy(target: int, tls: ssl.SSLContext | None = None) -> Iterator[DatabaseProxy]:
    """Run a proxy before the server at the port."""
    proxy = DatabaseProxy(target, tls)
    thread = threading.Thread(target=proxy.loop.run_forever)
    thread.start()
    try:
        proxy._do(proxy.listen())
        yield proxy
    finally:
        proxy.cut()
        asyncio.run_coroutine_threadsafe(_end_all(), proxy.loop).result(PATIENCE)
        proxy.loop.call_soon_threadsafe(proxy.loop.stop)
        thread.join()
        proxy.loop.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
