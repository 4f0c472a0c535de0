"""Work that nobody awaits: once, or again and again while a process runs."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry import logs

log = structlog.get_logger()

_JITTER = 0.2
"""Processes that start together do not stay together."""


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work now and about every so many seconds, whatever becomes of it."""
    while True:
        try:
            await work()
        except RegistryUnavailableError:
            pass  # told by whoever needs the answer
        except Exception as error:  # noqa: BLE001 - the next time it may go well
            log.error("work on events failed", error=logs.without_text(error))
        await asyncio.sleep(seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - no secret


@asynccontextmanager
async def watching(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the block."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Tasks:
    """Tasks that nobody awaits. What fails for want of the database is done by whoever looks for what is undone."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task."""
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, seconds: float) -> None:
        """Give them some time, and cancel those that go on."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RegistryUnavailableError:
            pass
        except Exception as error:  # noqa: BLE001 - nobody else hears of it
            log.error("work on events failed", error=logs.without_text(error))
