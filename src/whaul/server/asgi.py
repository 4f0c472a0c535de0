"""ASGI, as far as a table of JSON operations needs it: a request's body, an answer, the server's start and end.

https://asgi.readthedocs.io/en/stable/specs/www.html and https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

from whaul.errors import RequestEntityTooLargeException, SerializationException

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_TIMEOUT = 15.0
"""Seconds in which a request's body must come."""


def body_size(scope: Scope, max_size: int) -> int:
    """Return how many bytes the body may turn out to have: its stated length, else `max_size`, or 0 without a body.

    Raises `RequestEntityTooLargeException` for a stated length above `max_size`.
    """
    chunked = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 15 or int(value) > max_size:
                raise _too_large(max_size)
            return int(value)
        chunked = chunked or name == b"transfer-encoding"
    return max_size if chunked else 0


async def read_body(receive: Receive, max_size: int) -> bytes:
    """Read a request's body.

    Raises `RequestEntityTooLargeException` above `max_size` bytes, and `SerializationException` for a body that does
    not come.
    """
    body = b""
    more = True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while more:
                message = await receive()
                if message["type"] != "http.request":  # http.disconnect
                    raise SerializationException("The request body broke off.")
                part = message.get("body", b"")
                body = body + part if body else part
                if len(body) > max_size:
                    raise _too_large(max_size)
                more = message.get("more_body", False)
    except TimeoutError:
        raise SerializationException(f"The request body did not come within {BODY_TIMEOUT:.0f} seconds.") from None
    return body


async def answer(send: Send, status: int, content_type: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    """Send a whole answer."""
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    encoded.append((b"content-type", content_type.encode("ascii")))
    encoded.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def live(receive: Receive, send: Send, running: AbstractAsyncContextManager[None]) -> None:
    """Hold `running` open from the server's start to its end; what it raises is told to the server, which stops."""
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


def _too_large(max_size: int) -> RequestEntityTooLargeException:
    return RequestEntityTooLargeException(f"The request body is larger than {max_size} bytes.")
