"""Whether calls can be served: looked at when somebody asks, at most once a second, and once for all who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from whaul.errors import ApiError
from whaul.registry.errors import RegistryError

MAX_AGE = 1.0
"""Seconds. Anybody may ask as often as they like; the database is asked no more often than that."""


class Readiness:
    """The latest look."""

    def __init__(self, *checks: Callable[[], Awaitable[object]], clock: Callable[[], float] = time.monotonic) -> None:
        """`checks` raise an error that says what is missing; `clock` is monotonic, in seconds."""
        self._checks = checks
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

    async def _look(self) -> list[str]:
        reasons = []
        for check in self._checks:
            try:
                await check()
            except (RegistryError, ApiError) as error:
                reasons.append(error.message if isinstance(error, ApiError) else str(error))
        return reasons
