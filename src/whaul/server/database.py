"""What a server does about a database that may not answer: it waits at the start, and looks again later."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

import structlog

from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry import logs

log = structlog.get_logger()

OPEN_PAUSE = 1.0
"""Seconds until a worker that starts asks for the database again."""
LOOK_PAUSE = 5.0
"""Seconds between two looks."""

T = TypeVar("T")


async def opened(stack: AsyncExitStack, opening: Callable[[], AbstractAsyncContextManager[T]]) -> T:
    """Open the registry, and wait for it as long as its database does not answer.

    `whaul serve` has looked at it before its workers start. If one that starts later, after a crash, gave up at once,
    it would end the server with all the workers that go on.
    """
    waits = False
    while True:
        try:
            return await stack.enter_async_context(opening())
        except RegistryUnavailableError as error:
            if not waits:
                log.error("the database does not answer; this worker waits for it", error=logs.without_text(error))
            waits = True
            await asyncio.sleep(OPEN_PAUSE)


@asynccontextmanager
async def followed(
    read: Callable[[], Awaitable[T]], show: Callable[[T], None], tell: Callable[[bool], None]
) -> AsyncGenerator[None]:
    """Read something now and every few seconds, and show it, as long as the server runs.

    `tell` hears each time whether the database answered.
    """

    async def look() -> None:
        try:
            found = await read()
        except RegistryUnavailableError:
            tell(False)
        else:
            tell(True)
            show(found)

    async def follow() -> None:
        while True:
            await asyncio.sleep(LOOK_PAUSE)
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look comes
                tell(False)
                log.error("the database cannot be looked at", error=logs.without_text(error))

    await look()
    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
