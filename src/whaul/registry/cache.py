"""Answers of the registry, kept for a few seconds, so that a call costs no database work as a rule.

Owns how old an answer may be. What changes in the database is seen within the time to live.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from whaul.model import AccessKey, PhoneNumber

TTL: Final = 3.0
"""Seconds. A key that was disabled must stop working within five."""

SIZE: Final = 4096
"""Answers of each kind."""

Value = TypeVar("Value")


class Lookup(Protocol):
    """What the request path asks; `Registry` and `CachedRegistry` both answer it."""

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id."""
        ...

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is neither disabled nor expired."""
        ...


class CachedRegistry:
    """A `Lookup` in front of another. `ttl` is in seconds, `clock` is monotonic, in seconds too.

    Callers that miss the same id at once share one query. Unknown ids and errors are not kept: a key works as soon
    as it is made, and ids made up by strangers push nothing out.
    """

    def __init__(
        self,
        registry: Lookup,
        *,
        ttl: float = TTL,
        size: int = SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._phone_numbers = _Answers(registry.phone_number, ttl, size, clock)
        self._access_keys = _Answers(registry.access_key, ttl, size, clock)

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id; raises what the registry raises."""
        return await self._phone_numbers.get(phone_number_id)

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is neither disabled nor expired; raises what the registry raises."""
        return await self._access_keys.get(access_key_id)

    async def aclose(self) -> None:
        """End the queries that are under way; to be called before the registry is closed."""
        await self._phone_numbers.aclose()
        await self._access_keys.aclose()


class _Answers(Generic[Value]):
    def __init__(
        self,
        ask: Callable[[str], Awaitable[Value | None]],
        ttl: float,
        size: int,
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Value | None]] = {}

    async def get(self, id_: str) -> Value | None:
        kept = self._kept.get(id_)
        if kept is not None and self._clock() < kept[0]:
            self._kept.move_to_end(id_)
            return kept[1]
        task = self._asking.get(id_)
        if task is None:
            task = self._asking[id_] = asyncio.create_task(self._fetch(id_))
            task.add_done_callback(lambda done: self._finish(id_, done))
        # A caller who gives up does not end the query for the others who share it.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, id_: str) -> Value | None:
        expiry = self._clock() + self._ttl  # counted from the question: the answer may be as old as that
        value = await self._ask(id_)
        self._kept.pop(id_, None)
        if value is not None:
            self._kept[id_] = (expiry, value)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def _finish(self, id_: str, task: asyncio.Task[Value | None]) -> None:
        del self._asking[id_]
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it when every caller has given up
