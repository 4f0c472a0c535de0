"""The bodies of requests: how large they may be, and how long they may take."""

import asyncio
from typing import cast

from starlette.requests import Request

from whaul.errors import RequestEntityTooLargeException, SerializationException
from whaul.server.asgi import Message, Receive
from whaul.server.bodies import BODY_TIMEOUT, body_size


def bounded(request: Request, max_body: int, seconds: float = BODY_TIMEOUT) -> Request:
    """Bound a request's body, and the time that it takes. Raises ApiError, at once or when it is read."""
    body_size(dict(request.scope), max_body)
    return Request(request.scope, _bounded(cast("Receive", request.receive), max_body, seconds))


def _bounded(receive: Receive, max_body: int, seconds: float) -> Receive:
    size, is_whole, began = 0, False, asyncio.get_running_loop().time()

    async def bounded_receive() -> Message:
        nonlocal size, is_whole
        try:  # what comes after the body is the end of the connection, which takes its time
            async with asyncio.timeout_at(None if is_whole else began + seconds):
                message = await receive()
        except TimeoutError:
            raise SerializationException("The request body did not come in time.") from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > max_body:
            raise RequestEntityTooLargeException(f"The request has more than {max_body} bytes.")
        return message

    return bounded_receive
