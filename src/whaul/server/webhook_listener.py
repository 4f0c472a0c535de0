"""The application of the listener that is for webhooks alone, so that its port can face the Internet."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from whaul.server import asgi
from whaul.server.asgi import Application, Receive, Scope, Send
from whaul.server.gateway import HEALTH, JSON, READ, WEBHOOKS
from whaul.server.http_app import HttpApp


class WebhookListener(HttpApp):
    """Answers Meta, and who asks whether the process lives; there is nothing else here."""

    def __init__(self, receiving: Callable[["WebhookListener"], AbstractAsyncContextManager[Application]]) -> None:
        """`receiving` holds open what answers webhooks."""
        super().__init__()
        self._receiving = receiving
        self._webhooks: Application

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Hold it open."""
        async with self._receiving(self) as self._webhooks:
            yield

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        send = self.closing(send)
        if scope["path"].startswith(WEBHOOKS):
            await self._webhooks(scope, receive, send)
        elif scope["path"] == HEALTH and scope["method"] in READ:
            await asgi.answer(send, 200, JSON, [], b'{"status":"ok"}')
        else:
            await asgi.answer(send, 404, JSON, [], b'{"message":"There is nothing at this path."}')
