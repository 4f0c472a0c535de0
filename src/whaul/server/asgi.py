"""ASGI, as far as the gateway needs it: its messages, a response, the server's start and end.

https://asgi.readthedocs.io/en/stable/specs/www.html and https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def answer(send: Send, status: int, content_type: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    """Send a whole answer."""
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    encoded.append((b"content-type", content_type.encode("ascii")))
    encoded.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send, running: AbstractAsyncContextManager[None]) -> None:
    """Hold `running` open from the server's start to its end; an error in it reaches the server, which stops."""
    await receive()  # lifespan.startup
    phase = "startup"
    try:
        async with running:
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            phase = "shutdown"
        await send({"type": "lifespan.shutdown.complete"})
    except Exception:
        await send({"type": f"lifespan.{phase}.failed", "message": f"whaul failed at {phase}."})
        raise
