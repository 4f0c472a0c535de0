"""Answers of the registry, kept for a few seconds, so that a call costs no database work as a rule.

Owns how old an answer may be. What changes in the database is seen within the time to live; while the database does
not answer, what was known last goes on counting for a while.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from whaul.model import AccessKey, PhoneNumber
from whaul.registry.errors import RegistryUnavailable

TTL: Final = 3.0
"""Seconds. A key that was disabled must stop working within five."""
PATIENCE: Final = 1.5
"""Seconds that the database has to answer before the last answer is given again; with `TTL` below those five."""
GRACE: Final = 300.0
"""Seconds that the last answer is given while the database does not answer."""
REST: Final = 1.0
"""Seconds that the database is not asked after it did not answer."""
SIZE: Final = 4096
"""Answers of each kind."""

Value = TypeVar("Value")


class Lookup(Protocol):
    """What the request path asks; `Registry` and `CachedRegistry` both answer it."""

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id."""
        ...

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled."""
        ...


class CachedRegistry:
    """A `Lookup` in front of another. `ttl` is in seconds, `clock` is monotonic, in seconds too.

    Callers that miss the same id at once share one query. Unknown ids and errors are not kept: a key works as soon
    as it is made, and ids made up by strangers push nothing out. `on_outage` is told when the database stops
    answering (True) and when it answers again (False).
    """

    def __init__(
        self,
        registry: Lookup,
        *,
        ttl: float = TTL,
        size: int = SIZE,
        clock: Callable[[], float] = time.monotonic,
        on_outage: Callable[[bool], None] = lambda _out: None,
    ) -> None:
        outage = _Outage(clock, on_outage)
        self._phone_numbers = _Answers(registry.phone_number, ttl, size, clock, outage)
        self._access_keys = _Answers(registry.access_key, ttl, size, clock, outage)

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id; raises what the registry raises."""
        return await self._phone_numbers.get(phone_number_id)

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled; raises what the registry raises."""
        return await self._access_keys.get(access_key_id)

    async def aclose(self) -> None:
        """End the queries that are under way; to be called before the registry is closed."""
        await self._phone_numbers.aclose()
        await self._access_keys.aclose()


class _Outage:
    """Whether the database answers, as far as is known."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[bool], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._rests_until = 0.0
        self.lasts = False

    @property
    def rests(self) -> bool:
        """Whether the database is not to be asked now."""
        return self.lasts and self._clock() < self._rests_until

    def goes_on(self) -> None:
        """The database did not answer."""
        self._rests_until = self._clock() + REST
        self._change(True)

    def ends(self) -> None:
        """The database answered."""
        self._change(False)

    def _change(self, lasts: bool) -> None:
        if self.lasts != lasts:
            self.lasts = lasts
            self._on_change(lasts)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    asked: float
    """When the question was asked: the answer may be as old as that."""
    value: Value


@dataclass(frozen=True, slots=True)
class _Question(Generic[Value]):
    asked: float
    task: asyncio.Task[Value | None]


class _Answers(Generic[Value]):
    def __init__(
        self,
        ask: Callable[[str], Awaitable[Value | None]],
        ttl: float,
        size: int,
        clock: Callable[[], float],
        outage: _Outage,
    ) -> None:
        self._ask = ask
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._outage = outage
        self._kept: OrderedDict[str, _Kept[Value]] = OrderedDict()
        self._asking: dict[str, _Question[Value]] = {}

    async def get(self, id_: str) -> Value | None:
        kept = self._kept.get(id_)
        age = float("inf") if kept is None else self._clock() - kept.asked
        if kept is not None and age < self._ttl:
            self._kept.move_to_end(id_)
            return kept.value
        last = kept if age < GRACE else None
        if self._outage.rests:
            if last is None:
                raise RegistryUnavailable
            return last.value
        question = self._asking.get(id_)
        if question is None:
            asked = self._clock()
            question = self._asking[id_] = _Question(asked, asyncio.create_task(self._fetch(id_, asked)))
            question.task.add_done_callback(lambda done: self._finish(id_, done))
        task = question.task
        if last is None:
            # A caller who gives up does not end the query for the others who share it.
            return await asyncio.shield(task)
        # While the database is out, callers go on with the last answer at once, and the query tells when it is back.
        patience = 0.0 if self._outage.lasts else max(0.0, question.asked + PATIENCE - self._clock())
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            self._outage.goes_on()
            return last.value
        try:
            return task.result()
        except RegistryUnavailable:
            return last.value

    async def aclose(self) -> None:
        tasks = [question.task for question in self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, id_: str, asked: float) -> Value | None:
        try:
            value = await self._ask(id_)
        except RegistryUnavailable:
            self._outage.goes_on()
            raise
        self._outage.ends()
        self._kept.pop(id_, None)
        if value is not None:
            self._kept[id_] = _Kept(asked, value)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def _finish(self, id_: str, task: asyncio.Task[Value | None]) -> None:
        del self._asking[id_]
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it when every caller has given up
