"""Request bodies: read within a size and a time, and within the memory that strangers may take.

A body is here before its signature can be checked, so anybody can send one. Small ones are bounded by the number of
connections. Large ones share a budget, each from its arrival until its call ends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from whaul.errors import RequestEntityTooLargeException, SerializationException, ThrottledRequestException
from whaul.server.asgi import Receive, Scope
from whaul.timeouts import Timeouts

BODY_TIMEOUT = 15.0
"""Seconds in which a request's body must come."""
SMALL_BODY = 8 * 1024
"""Bytes of a body that needs no room in the budget. Most are smaller."""
MAX_LARGE_BODIES = 48 * 1024**2
"""Bytes of all larger bodies in a worker."""
ARRIVAL_TIME = 1.0
"""Seconds after which a body that has not arrived gives way to others."""


class BodySize(NamedTuple):
    """How many bytes a body has."""

    most: int
    is_stated: bool
    """Whether it has exactly so many: HTTP ends it there."""


def body_size(scope: Scope, max_size: int) -> BodySize:
    """Say how large a body turns out: as its length says, else `max_size` at most, or 0 without a body.

    Raises `RequestEntityTooLargeException` for a stated length above `max_size`.
    """
    chunked = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 15 or int(value) > max_size:
                raise _too_large(max_size)
            return BodySize(int(value), is_stated=True)
        chunked = chunked or name == b"transfer-encoding"
    return BodySize(max_size if chunked else 0, is_stated=not chunked)  # HTTP/1.1 has no other way to send one


class BodyBudget:
    """The memory that large bodies take, until their calls end.

    A body is here before its signature can be checked, so anybody can send one. Small ones are bounded by the number
    of connections and need no room here. When there is none left for a large one, those that have been arriving for
    long give way, the oldest first: an honest caller sends a body at once. If none has, the newcomer is refused.
    """

    def __init__(self, max_bytes: int = MAX_LARGE_BODIES, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._free = max_bytes
        self._clock = clock
        self._timeouts = Timeouts()
        self.arriving: dict[BodyRoom, None] = {}
        """The large ones that are being read, the oldest first."""

    async def read(self, receive: Receive, size: BodySize) -> bytes:
        """Read a request's body.

        Raises `RequestEntityTooLargeException` above its size, and `SerializationException` for a body that does not
        come.
        """
        body = bytearray()  # grows in place: a list would hold more than the body when it comes in tiny parts
        more = size.most > 0
        async with self._timeouts.after(BODY_TIMEOUT, _too_late):
            while more:
                message = await receive()
                if message["type"] != "http.request":  # http.disconnect
                    raise SerializationException("The request body broke off.")
                body += message.get("body", b"")
                if len(body) > size.most:
                    raise _too_large(size.most)
                # To ask once more whether a whole body has ended would wake three threads.
                more = message.get("more_body", False) and not (size.is_stated and len(body) == size.most)
        return bytes(body)

    def take(self, size: int) -> "BodyRoom":
        """Take room for a body of `size` bytes, to be released. Raises `ThrottledRequestException` without any."""
        if size > self._free:
            self._make_room(size)
        self._free -= size
        return BodyRoom(self, size, self._clock())

    def add(self, size: int) -> None:
        """Take back what a body held."""
        self._free += size

    def _make_room(self, size: int) -> None:
        latest = self._clock() - ARRIVAL_TIME
        for room in [room for room in self.arriving if room.since <= latest]:
            room.give_way()
            if size <= self._free:
                return
        raise _no_room()


class BodyRoom:
    """What is held for one body."""

    def __init__(self, budget: BodyBudget, size: int, since: float) -> None:
        self.since = since
        self._budget = budget
        self._size = size
        self._end = asyncio.timeout(None)

    async def fill(self, reading: Awaitable[bytes]) -> bytes:
        """Read the body; raises `ThrottledRequestException` when it had to give way to others."""
        try:
            async with self._end:
                self._budget.arriving[self] = None
                try:
                    return await reading
                finally:
                    self._budget.arriving.pop(self, None)
        except TimeoutError:
            raise _no_room() from None

    def give_way(self) -> None:
        """Stop reading; the room is free for others at once."""
        del self._budget.arriving[self]
        self.release()
        self._end.reschedule(asyncio.get_running_loop().time())

    def release(self) -> None:
        """Give the room back."""
        self._budget.add(self._size)
        self._size = 0


def _too_late() -> SerializationException:
    return SerializationException(f"The request body did not come within {BODY_TIMEOUT:.0f} seconds.")


def _no_room() -> ThrottledRequestException:
    return ThrottledRequestException("Too many large requests are arriving. Try again later.", retry_after=1)


def _too_large(max_size: int) -> RequestEntityTooLargeException:
    return RequestEntityTooLargeException(f"The request body is larger than {max_size} bytes.")
