"""Whether calls can be served: looked at when somebody asks, at most once a second, and once for all who ask.

The log is told at the start, too: `ready`, or what is missing until then.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from whaul.errors import ApiError
from whaul.registry.errors import RegistryError
from whaul.telemetry import logs

log = structlog.get_logger()

MAX_AGE = 1.0
"""Seconds. Anybody may ask as often as they like; the database is asked no more often than that."""
START_PAUSE = 2.0
"""Seconds between two looks of a server that is not ready yet."""


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
            except Exception as error:  # noqa: BLE001 - a monitor gets an answer, and the text of others stays here
                log.error("unforeseen", error=logs.without_text(error))
                reasons.append("An internal error; the log says where.")
        return reasons


@asynccontextmanager
async def announced(
    unready: Callable[[], Awaitable[list[str]]], ready: Callable[[], None], pause: float = START_PAUSE
) -> AsyncGenerator[None]:
    """Call `ready` once nothing is missing any more, and log until then what is; the server serves meanwhile."""

    async def follow() -> None:
        logged: list[str] = []
        while reasons := await unready():
            for reason in reasons:
                if reason not in logged:
                    log.warning("not_ready", message=reason)
            logged = reasons
            await asyncio.sleep(pause)
        ready()

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
