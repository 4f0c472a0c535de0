"""Whether calls can be served: looked at when somebody asks, at most once a second, and once for all who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

MAX_AGE = 1.0
"""Seconds. Anybody may ask as often as they like; the database is asked no more often than that."""


class Readiness:
    """The latest look."""

    def __init__(self, look: Callable[[], Awaitable[list[str]]], clock: Callable[[], float] = time.monotonic) -> None:
        """`look` returns why calls cannot be served; `clock` is monotonic, in seconds."""
        self._look = look
        self._clock = clock
        self._looked_at = float("-inf")
        self._latest: asyncio.Future[list[str]] | None = None

    async def unready(self) -> list[str]:
        """Return why calls cannot be served; empty when they can."""
        latest = self._latest
        if latest is None or (latest.done() and self._clock() - self._looked_at >= MAX_AGE):
            self._looked_at = self._clock()
            latest = self._latest = asyncio.ensure_future(self._look())
        return await asyncio.shield(latest)  # who gives up does not end it for others
