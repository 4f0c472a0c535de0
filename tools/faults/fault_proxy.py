"""A TCP proxy that does to connections what bad networks do; what it does is scripted, exact to the byte, and counted.

It relays bytes and knows of HTTP only where a head ends, so that a fault can be placed in a body. TLS passes through
as it is: the proxy can break it, but neither read nor change it.
"""

import array
import asyncio
import contextlib
import errno
import fcntl
import random
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

CHUNK = 256 * 1024
HEAD_END = b"\r\n\r\n"
REQUESTS = (b"GET /", b"PUT /", b"POST /")
UNSENT_PATIENCE = 1.0
"""Seconds that a reset waits for the receiver to take the bytes before it; a reset throws away what is not sent."""

Kind = Literal["reset", "close", "stall", "corrupt", "hold", "latency", "bandwidth"]
Way = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a connection, and where.

    `way` is that of the bytes that are hit: `up` to the server, `down` to the client. With `match`, the fault waits
    for a request that begins so, and `at` counts bytes of the body of that request (up) or of its answer (down);
    None is before the first byte of the head. Without `match`, `at` counts the bytes of the connection, which is all
    that can be counted in TLS. `times` is how many requests (or connections) are hit; None is all.
    """

    kind: Kind
    way: Way = "down"
    match: bytes | None = None
    at: int | None = None
    times: int | None = 1
    seconds: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = 0.0


class Struck:
    """A fault in use: how often it hit, and, for `hold`, the wait for the hit and the letting go."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self.left = fault.times
        self.reached = threading.Event()
        """Set when `at` bytes have passed for the first time."""
        self._release: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self) -> bool:
        """Whether one more request is hit."""
        if self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True

    def hit(self) -> None:
        self.hits += 1
        self.reached.set()

    async def released(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._release.wait()

    def release(self) -> None:
        """Let go what is held; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._release.set)
        else:
            self._release.set()


@dataclass(slots=True)
class _Side:
    """One way through a connection."""

    passed: int = 0
    """Bytes relayed so far."""
    exchange: int = 0
    """Where the request or answer that is hit begins."""
    tail: bytes = b""
    body: int | None = None
    """Where its body begins, once its head has ended."""
    struck: bool = False


@dataclass(slots=True, eq=False)
class _Connection:
    client: socket.socket
    server: socket.socket
    sides: dict[Way, _Side] = field(default_factory=lambda: {"up": _Side(), "down": _Side()})
    struck: Struck | None = None
    frozen: bool = False
    reset: bool = True
    """When one end is gone, the other is told so."""

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        for end in (self.client, self.server):
            loop.remove_reader(end)  # before the number of the descriptor can be another socket's
            loop.remove_writer(end)
            if self.reset:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()


class FaultProxy:
    """A proxy before one server. Its methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int, rng: random.Random) -> None:
        """`target` is the server's port on this machine."""
        self.port = 0
        self.accepted = 0
        self._loop = loop
        self.target = target
        self._rng = rng
        self._struck: Struck | None = None
        self._chance: tuple[float, Callable[[random.Random], Fault]] | None = None
        self.by_chance: list[Struck] = []
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()

    # -- what tests and the bench call ---------------------------------------------------------------------------

    def script(self, fault: Fault) -> Struck:
        """Do this to what comes next, and nothing else; give what tells how often it hit."""
        self._struck = Struck(fault)
        return self._struck

    def strike_by_chance(self, share: float, fault: Callable[[random.Random], Fault]) -> None:
        """Hit this share of all requests, each with a fault of its own drawing; `by_chance` has them."""
        self._chance = (share, fault)

    def refuse(self) -> None:
        """Stop listening, so that connections are refused, and break those that are open."""
        self._call(self._stop_listening())
        self.drop()

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._call(self._listen())

    def drop(self) -> None:
        """Break all connections, and forget the fault."""
        self._struck = None
        self._chance = None
        self._call(self._drop())

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    # -- inside the loop -----------------------------------------------------------------------------------------

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(512)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._loop.add_reader(listener, self._accept_one, listener)

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _drop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept_one(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EMFILE, errno.ECONNABORTED}:
                return
            raise
        self.accepted += 1
        connection = _Connection(client, socket.socket())
        self._connections.add(connection)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._end(task, connection))  # also when it never began

    def _end(self, task: asyncio.Task[None], connection: _Connection) -> None:
        connection.close(self._loop)
        self._connections.discard(connection)
        self._tasks.discard(task)

    async def _serve(self, connection: _Connection) -> None:
        client, server = connection.client, connection.server
        pumps: list[asyncio.Task[None]] = []
        try:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(server, ("127.0.0.1", self.target))
            self._begin_connection(connection)
            pumps = [
                self._loop.create_task(self._pump(connection, client, server, "up")),
                self._loop.create_task(self._pump(connection, server, client, "down")),
            ]
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            for pump in done:
                await pump
            connection.reset = False
        except _Break as broken:
            connection.reset = broken.reset
        except OSError:
            pass
        finally:
            for pump in pumps:
                pump.cancel()
            if pumps:
                await asyncio.wait(pumps)

    def _begin_connection(self, connection: _Connection) -> None:
        """Give a new connection its fault, if the fault waits for no request."""
        if self._struck is not None and self._struck.fault.match is None and self._struck.take():
            connection.struck = self._struck

    def _begin_request(self, connection: _Connection, data: bytes) -> None:
        """Give a request its fault, if it is one that the fault waits for, or chance wants it."""
        struck: Struck | None = None
        if self._chance is not None:
            share, fault = self._chance
            if not data.startswith(REQUESTS):
                return
            connection.struck = None
            if self._rng.random() < share:
                struck = Struck(fault(self._rng))
                self.by_chance.append(struck)
        elif self._struck is not None:
            match = self._struck.fault.match
            if match is not None and data.startswith(match) and self._struck.take():
                struck = self._struck
        if struck is not None:
            for side in connection.sides.values():
                side.exchange, side.tail, side.body, side.struck = side.passed, b"", None, False
            connection.struck = struck

    async def _pump(self, connection: _Connection, source: socket.socket, sink: socket.socket, way: Way) -> None:
        side = connection.sides[way]
        line = _Line(self._loop, sink, self._rng)
        try:
            while data := await self._loop.sock_recv(source, CHUNK):
                if way == "up":
                    self._begin_request(connection, data)
                struck = connection.struck
                if struck is not None and struck.fault.way == way and not side.struck:
                    data = await self._strike(connection, way, line, data)
                if connection.frozen:
                    await asyncio.Event().wait()
                await line.send(data, struck.fault if struck else None)
                side.passed += len(data)
            await line.drain()
            if not connection.frozen:
                sink.shutdown(socket.SHUT_WR)
        finally:
            line.close()

    async def _strike(self, connection: _Connection, way: Way, line: "_Line", data: bytes) -> bytes:
        """Do what the fault says if its place is in `data`; give the bytes that are still to be sent."""
        struck, side = connection.struck, connection.sides[way]
        assert struck is not None
        fault = struck.fault
        if fault.kind in {"latency", "bandwidth"}:
            side.struck = True
            struck.hit()
            return data
        place = self._place(side, fault, data)
        last = place is not None and place - side.passed <= len(data) - (fault.kind == "corrupt")
        if place is None or not last:
            return data
        side.struck = True
        before = data[: place - side.passed]
        rest = data[len(before) :]
        if fault.kind == "corrupt":
            struck.hit()
            return before + bytes([rest[0] ^ (1 << self._rng.randrange(8))]) + rest[1:]
        await line.send(before, None)
        await line.drain()
        side.passed += len(before)
        if fault.kind == "hold":
            struck.hit()
            await struck.released()
            return rest
        if fault.kind == "stall":
            connection.frozen = True
            struck.hit()
            await asyncio.Event().wait()
        await line.all_sent()
        struck.hit()
        raise _Break(reset=fault.kind == "reset")

    def _place(self, side: _Side, fault: Fault, data: bytes) -> int | None:
        """Where in the connection's bytes the fault is, once that is known."""
        if fault.match is None:
            return fault.at or 0
        if fault.at is None:
            return side.exchange
        if side.body is None:
            text = side.tail + data
            end = text.find(HEAD_END)
            if end < 0:
                side.tail = text[-3:]
                return None
            side.body = side.passed - len(side.tail) + end + len(HEAD_END)
        return side.body + fault.at


class _Break(Exception):  # noqa: N818 - an order
    def __init__(self, *, reset: bool) -> None:
        self.reset = reset


class _Line:
    """The wire to one end, which may be long or thin."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sink: socket.socket, rng: random.Random) -> None:
        self._loop = loop
        self._sink = sink
        self._rng = rng
        self._queue: asyncio.Queue[tuple[float, bytes] | None] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._due = 0.0

    async def send(self, data: bytes, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "bandwidth":
            for start in range(0, len(data), CHUNK // 4):
                part = data[start : start + CHUNK // 4]
                await asyncio.sleep(len(part) / fault.bytes_per_second)
                await self._loop.sock_sendall(self._sink, part)
        elif fault is not None and fault.kind == "latency":
            if self._sender is None:
                self._queue = asyncio.Queue(maxsize=64)
                self._sender = self._loop.create_task(self._send_when_due(self._queue))
            delay = fault.seconds + self._rng.uniform(0, fault.jitter)
            self._due = max(self._due, self._loop.time() + delay)  # bytes never overtake each other
            assert self._queue is not None
            await self._queue.put((self._due, data))
        elif data:
            await self._loop.sock_sendall(self._sink, data)

    async def _send_when_due(self, queue: "asyncio.Queue[tuple[float, bytes] | None]") -> None:
        while (item := await queue.get()) is not None:
            await asyncio.sleep(item[0] - self._loop.time())
            await self._loop.sock_sendall(self._sink, item[1])

    async def drain(self) -> None:
        """Wait until everything is handed to the kernel."""
        if self._sender is not None and self._queue is not None:
            await self._queue.put(None)
            await self._sender
            self._sender = None

    async def all_sent(self) -> None:
        """Wait until the receiver's kernel has everything; there is no event for it."""
        unsent = array.array("i", [0])
        end = self._loop.time() + UNSENT_PATIENCE
        while self._loop.time() < end:
            fcntl.ioctl(self._sink.fileno(), termios.TIOCOUTQ, unsent)
            if not unsent[0]:
                return
            await asyncio.sleep(0.001)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.cancel()


class Network:
    """An event loop in a thread, on which proxies run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._proxies: list[FaultProxy] = []
        self._servers: list[asyncio.Server] = []

    def proxy(self, target: int, seed: object, port: int = 0) -> FaultProxy:
        """Start a proxy before a port of this machine."""
        proxy = FaultProxy(self.loop, target, random.Random(f"{seed}"))
        proxy.port = port
        proxy.accept()
        self._proxies.append(proxy)
        return proxy

    def tls_front(self, target: int, certificate: ssl.SSLContext) -> int:
        """End TLS before a server that speaks none; give the port."""

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(CHUNK):
                    writer.write(data)
                    await writer.drain()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                behind_reader, behind = await asyncio.open_connection("127.0.0.1", target, limit=CHUNK)
            except OSError:
                writer.transport.abort()
                return
            ways = [asyncio.create_task(relay(reader, behind)), asyncio.create_task(relay(behind_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                for end in (writer, behind):
                    end.close()

        async def start() -> asyncio.Server:
            return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate, limit=CHUNK)

        server = asyncio.run_coroutine_threadsafe(start(), self.loop).result(30)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        for proxy in self._proxies:
            await proxy._stop_listening()
            await proxy._drop()
        for server in self._servers:
            server.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@contextmanager
def network() -> Iterator[Network]:
    """Run a loop for proxies while the block runs."""
    running = Network()
    thread = threading.Thread(target=running.loop.run_forever, name="network")
    thread.start()
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(running._close(), running.loop).result(30)
        running.loop.call_soon_threadsafe(running.loop.stop)
        thread.join()
        running.loop.close()
