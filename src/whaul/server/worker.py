"""A worker process: the gateway, and how it stops without losing a call.

1. DRAIN_SIGNAL begins the notice: `/readyz` answers 503, so that balancers turn away, and every answer closes its
   connection, so that the next call comes on a new one, elsewhere. Calls are served as before.
2. STOP_SIGNAL ends it. No new connection may begin; those that have begun are still accepted. Then the server beneath
   closes the listener and idle connections, finishes the calls under way, and the process ends.

STOP_SIGNAL without DRAIN_SIGNAL comes to a worker that another one replaces at the same port. It closes connections
after each answer for as long as a notice, and stays ready: balancers must not turn away from its successor.

SIGTERM and SIGINT often go to a whole group of processes (systemd, Ctrl-C), and are left to the supervisor. When that
has died, the worker stops by itself.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable
from contextlib import suppress
from multiprocessing.connection import Connection

import structlog

from whaul.server import DRAIN_SIGNAL, STOP_SIGNAL
from whaul.server.asgi import Message, Receive, Scope, Send
from whaul.server.http_app import HttpApp
from whaul.server.sockets import hold_off_connections

log = structlog.get_logger()

START = 0.1
"""Seconds from the gateway's start to the word that it serves: more than the loop takes to come to rest."""
HANDSHAKE = 0.2
"""Seconds in which a connection that has begun reaches the listener."""


class Worker:
    """The ASGI application of a worker process."""

    def __init__(self, gateway: HttpApp, port: int, notice: float, serving: Connection) -> None:
        """`serving` is told once the gateway serves; `notice` is in seconds."""
        self._gateway = gateway
        self._port = port
        self._notice = notice
        self._serving = serving
        self._is_serving = False
        self._drained = asyncio.Event()
        self._stop: asyncio.Task[None] | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass on a request; obey the supervisor from the start to the end."""
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return self._gateway(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._is_serving = True
                # The loop rests now, until the server beneath listens; if it cannot, nothing is told.
                loop.call_later(START, self._serving.send_bytes, b"serving")

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(DRAIN_SIGNAL, self.drain)
        loop.add_signal_handler(STOP_SIGNAL, self.stop)
        loop.add_signal_handler(signal.SIGTERM, _leave_to_supervisor)
        supervisor = multiprocessing.parent_process()
        if supervisor is not None:
            loop.add_reader(supervisor.sentinel, self._orphan, supervisor.sentinel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {DRAIN_SIGNAL, STOP_SIGNAL, signal.SIGTERM})
        await self._gateway(scope, receive, tell)

    def drain(self) -> None:
        """Announce the stop."""
        if not self._drained.is_set():
            self._drained.set()
            self._gateway.drain()

    def stop(self) -> None:
        """Stop; before it serves, at once."""
        if not self._is_serving:
            os._exit(0)
        if self._stop is None:
            self._stop = asyncio.create_task(self._stop_in_order())

    async def _stop_in_order(self) -> None:
        self._gateway.close_connections()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), self._notice)
        if self._notice:
            hold_off_connections(self._port)
            await asyncio.sleep(HANDSHAKE)
        # The one signal that the server beneath still takes to mean its end; it was held back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    def _orphan(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        log.error("the main process has died; this worker stops")
        self._gateway.drain()
        self.stop()


def _leave_to_supervisor() -> None:
    """Do nothing at SIGTERM; programs that this process starts take it as usual."""
