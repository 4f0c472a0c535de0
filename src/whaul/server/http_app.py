"""What the applications of all listeners have in common: whom they answer at the moment, and how they stop."""

from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractAsyncContextManager

from whaul.server import asgi
from whaul.server.asgi import Message, Receive, Scope, Send
from whaul.server.bodies import BodyBudget
from whaul.telemetry import logs

CLOSE = ("Connection", "close")


class HttpApp(ABC):
    """An ASGI application."""

    def __init__(self) -> None:
        self.is_draining = False
        self.is_closing = False
        """Whether each answer closes its connection."""
        self.bodies = BodyBudget()
        """The memory of large bodies, of calls and webhooks."""
        self.busy: Counter[int] = Counter()
        """The ports of the clients whose requests are being answered; two clients may have the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, or the server's start and end, as ASGI."""
        if scope["type"] == "lifespan":
            await asgi.live(receive, send, self.running())
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        _, port = scope.get("client") or ("", 0)
        client = int(port)  # Granian has it as text
        self.busy[client] += 1
        try:
            await self.answer(scope, receive, send)
        finally:
            self.busy[client] -= 1
            if not self.busy[client]:
                del self.busy[client]

    def drain(self) -> None:
        """Say that the server is going to stop; requests are served as before."""
        self.is_draining = True
        self.close_connections()
        logs.lifecycle("draining")

    def close_connections(self) -> None:
        """From now on close each connection after its answer, so that the next request comes on a new one."""
        self.is_closing = True

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """Hold open what requests need, from the server's start to its end."""

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

    def closing(self, send: Send) -> Send:
        """Return a way to send that tells the client when its connection closes."""
        if not self.is_closing:
            return send

        async def close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"connection", b"close"))
            await send(message)

        return close
