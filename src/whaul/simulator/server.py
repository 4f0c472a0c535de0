"""The running simulator: builds its parts, and listens."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Self

from aiohttp import web

from whaul.simulator.apps import checked_url
from whaul.simulator.control import endpoint
from whaul.simulator.flow_calls import asset_routes
from whaul.simulator.graph import Graph
from whaul.simulator.handler import Handler
from whaul.simulator.journal import Exchange, Journal
from whaul.simulator.lookaside import Lookaside
from whaul.simulator.state import State
from whaul.simulator.webhooks.deliveries import Delivery
from whaul.simulator.webhooks.sender import Webhooks
from whaul.simulator.world import World

DEFAULT_TOKEN = "simulated-token"  # noqa: S105 - opens nothing but the simulator
SHUTDOWN_SECONDS = 0.5
MAX_HEADER = 64 * 1024
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a body that is read whole."""


class Simulator(World):
    """Meta's Graph API for WhatsApp media, simulated on a local port; an async context manager.

    `port` 0 takes a free one. `clock` gives Unix time in seconds. `on_request` is called with each exchange once
    it is over. Every file of `media_dir` becomes a media. Media that are added are kept in `keep_dir`, and are there
    again the next time.

    `webhook_url` gets all webhooks, signed with `app_secret`, or with `webhook_secret` where calls need no proof.
    `webhook_tls` is used for receivers with https, and may hold a client certificate. `on_webhook` is called with the
    delivery after each attempt.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = DEFAULT_TOKEN,
        app_secret: str | None = None,
        clock: Callable[[], float] = time.time,
        media_dir: str | os.PathLike[str] | None = None,
        keep_dir: str | os.PathLike[str] | None = None,
        on_request: Callable[[Exchange], None] | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        webhook_tls: SSLContext | None = None,
        on_webhook: Callable[[Delivery], None] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        state = State(
            token=token,
            app_secret=app_secret,
            webhook_url=None if webhook_url is None else checked_url(webhook_url),
            webhook_secret=webhook_secret,
            clock=clock,
            media_dir=Path(media_dir) if media_dir is not None else None,
            keep_dir=Path(keep_dir) if keep_dir is not None else None,
            journal=Journal(on_request),
        )
        self._handler = Handler(state)
        super().__init__(state, Webhooks(state, self._handler.pauses, webhook_tls, on_webhook))
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen; raises `OSError` if the port is taken."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and end what is under way."""
        await self.stop()

    async def start(self) -> None:
        """Listen on the port; afterwards `port` is the real one."""
        application = web.Application(client_max_size=MAX_MESSAGE)
        graph, lookaside = Graph(self._handler, self.webhooks), Lookaside(self._handler)
        application.add_routes(
            [*endpoint.routes(self), *lookaside.routes(), *asset_routes(self._handler), *graph.routes()]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,  # it would show tokens and signed URLs
            handler_cancellation=True,  # a client that leaves ends a stall
            shutdown_timeout=SHUTDOWN_SECONDS,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]
        self.state.origin = self.url
        await self.webhooks.start()

    async def stop(self) -> None:
        """Stop listening, end what is under way, remove uploaded files."""
        await self.webhooks.stop()
        self._handler.pauses.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.state.close()

    @property
    def url(self) -> str:
        """The base of Graph calls, such as `http://127.0.0.1:8081`."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - not bound here
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
