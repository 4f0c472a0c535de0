"""Looks unknown access key ids up in batches, so that ids that strangers make up cost the database next to nothing.

Ids that are real are known after their first look-up, and are asked for one by one. All others wait for the next
query, which asks for all of them at once: one at a time, and few in a second, whatever comes. The answer is never out
of date, as a cache's of unknown ids would be: a key works as soon as it is made.
"""

import asyncio
import re
from collections.abc import Collection
from itertools import islice
from typing import Final, Protocol

from whaul.model import AccessKey

MAX_BATCH: Final = 500
"""Ids in a query."""
PAUSE: Final = 0.02
"""Seconds between two queries, at least."""
_FORM: Final = re.compile(r"[A-Za-z0-9_]{3,128}")
"""What can be an id at all; a database may refuse to be asked for others."""


class Source(Protocol):
    """Access keys that can be asked for one by one, and many at once."""

    async def find(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled."""
        ...

    async def usable(self, access_key_ids: Collection[str]) -> set[str]:
        """Return those of the ids that are access keys and not disabled."""
        ...


class BatchedKeys:
    """A look-up in front of the registry's access keys; raises what that raises."""

    def __init__(self, access_keys: Source, pause: float = PAUSE) -> None:
        """`pause` is in seconds."""
        self._access_keys = access_keys
        self._pause = pause
        self._real: set[str] = set()
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def find(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled."""
        if access_key_id not in self._real and not await self._is_real(access_key_id):
            return None
        key = await self._access_keys.find(access_key_id)
        if key is None:
            self._real.discard(access_key_id)
        else:
            self._real.add(access_key_id)
        return key

    async def aclose(self) -> None:
        """End the query that is under way; to be called before the registry is closed."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _is_real(self, access_key_id: str) -> bool:
        if not _FORM.fullmatch(access_key_id):
            return False
        waiting = self._waiting.get(access_key_id)
        if waiting is None:
            waiting = self._waiting[access_key_id] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(waiting)  # who gives up does not end it for others

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch = dict(islice(self._waiting.items(), MAX_BATCH))
                for access_key_id in batch:
                    del self._waiting[access_key_id]
                await self._answer(batch)
                await asyncio.sleep(self._pause)
        finally:
            self._asking = None

    async def _answer(self, batch: dict[str, asyncio.Future[bool]]) -> None:
        try:
            real = await self._access_keys.usable(batch.keys())
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            for waiting in batch.values():
                waiting.set_exception(error)
                waiting.exception()  # looked at, so that asyncio does not report it when all have given up
        except asyncio.CancelledError:
            for waiting in batch.values():
                waiting.cancel()
            raise
        else:
            for access_key_id, waiting in batch.items():
                waiting.set_result(access_key_id in real)
