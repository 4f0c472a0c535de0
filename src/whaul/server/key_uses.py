"""When access keys were used last: noted in memory for each call, and written to the registry now and then.

No call waits for it or fails with it. The first use of a key is written within `PAUSE`, further ones at most once in
`INTERVAL`, and what is left when the server stops. So what the registry says is old by at most `INTERVAL`, and that
much is lost when a process is killed. While the registry cannot be written, uses wait in memory, one for each key.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from whaul.model import KeyUse
from whaul.registry.errors import RegistryError
from whaul.telemetry import logs

log = structlog.get_logger()

PAUSE: Final = 2.0
"""Seconds between two looks for uses to write."""
INTERVAL: Final = 300.0
"""Seconds between two writes for one key."""
OUTAGE_PAUSE: Final = 60.0
"""Seconds until a write that failed is tried again."""
STOP_TIMEOUT: Final = 5.0
"""Seconds that the last write may take."""


class KeyUses:
    """The uses in one process."""

    def __init__(
        self,
        write: Callable[[Mapping[str, KeyUse]], Awaitable[None]],
        *,
        pause: float = PAUSE,
        outage_pause: float = OUTAGE_PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`write` takes the latest uses by access key id and raises RegistryError; `clock` is monotonic, in seconds."""
        self._write = write
        self._pause = pause
        self._outage_pause = outage_pause
        self._clock = clock
        self._latest: dict[str, KeyUse] = {}
        self._written_at: dict[str, float] = {}
        self._fails = False

    def note(self, access_key_id: str, operation: str | None) -> None:
        """Note a use, now."""
        self._latest[access_key_id] = KeyUse(datetime.now(UTC), operation)

    @asynccontextmanager
    async def written(self) -> AsyncGenerator[None]:
        """Write uses as long as the block runs, and the last ones at its end."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self._write_down(dict(self._latest))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._outage_pause if self._fails else self._pause)
            now = self._clock()
            self._written_at = {id_: at for id_, at in self._written_at.items() if now - at < INTERVAL}
            await self._write_down({id_: use for id_, use in self._latest.items() if id_ not in self._written_at})

    async def _write_down(self, uses: dict[str, KeyUse]) -> None:
        if not uses:
            return
        try:
            await self._write(uses)
        except RegistryError as error:
            if not self._fails:
                log.warning("key_uses_unwritten", error=logs.without_text(error))
            self._fails = True
            return
        self._fails = False
        for id_, use in uses.items():
            self._written_at[id_] = self._clock()
            if self._latest.get(id_) is use:  # else it was used again meanwhile
                del self._latest[id_]
