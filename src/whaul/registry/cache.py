"""What the registry said, kept for a few seconds, so that most calls cost no database work.

A value is used for `TTL` seconds, counted from when the query for it began. A key that was disabled, a policy that
was narrowed and a token that was replaced are therefore in force everywhere within five seconds, with no messages
between servers. Only values are kept. An id that is not found is asked for each time: a new key works at once, and
ids made up by strangers push nothing out.

Callers that miss the same id at once share one query. It is a task of its own, so that a caller who gives up does not
end it for the others, and so that it can go on when nobody waits any longer.

When the database does not answer, the old value is used for up to `GRACE` seconds. A value that is too old for `TTL`
asks the database, and waits for `PATIENCE` seconds. `TTL` and `PATIENCE` together stay below the five seconds: a
database that is slow delays news by no more than one that answers. After that the database counts as down. While it
is down, callers get the old value at once, and a query goes out every `PAUSE` seconds to see whether it is back. Its
answer counts even if it comes late. Callers without an old value get an error, at once during the pause.

What was found to be gone while the database was up stays gone: the entry is removed, not merely out of date.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from whaul.model import AccessKey, Account, PhoneNumber
from whaul.registry.errors import RegistryUnavailableError

TTL: Final = 3.0
PATIENCE: Final = 1.5
GRACE: Final = 300.0
PAUSE: Final = 1.0
MAX_ENTRIES: Final = 4096
"""Of each kind; the one that was not used for longest makes room."""

Value = TypeVar("Value")
Query = Callable[[str], Awaitable[Value | None]]


class Lookup(Protocol):
    """What calls look up."""

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id."""
        ...

    async def linked_account(self, account_id: str) -> Account | None:
        """Find a linked account by its id."""
        ...

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled."""
        ...


class CachedRegistry:
    """A `Lookup` over three queries of the registry; raises what they raise.

    `clock` is monotonic, in seconds. `on_outage` is called when the database stops answering (True) and when it answers
    again (False).
    """

    def __init__(
        self,
        *,
        phone_number: Query[PhoneNumber],
        linked_account: Query[Account],
        access_key: Query[AccessKey],
        clock: Callable[[], float] = time.monotonic,
        max_entries: int = MAX_ENTRIES,
        on_outage: Callable[[bool], None] = lambda _is_down: None,
    ) -> None:
        outage = _Outage(clock, on_outage)
        self._phone_numbers = _Cache(phone_number, outage, clock, max_entries)
        self._accounts = _Cache(linked_account, outage, clock, max_entries)
        self._access_keys = _Cache(access_key, outage, clock, max_entries)

    async def phone_number(self, phone_number_id: str) -> PhoneNumber | None:
        """Find a linked phone number by its id."""
        return await self._phone_numbers.get(phone_number_id)

    async def linked_account(self, account_id: str) -> Account | None:
        """Find a linked account by its id."""
        return await self._accounts.get(account_id)

    async def access_key(self, access_key_id: str) -> AccessKey | None:
        """Find an access key that is not disabled."""
        return await self._access_keys.get(access_key_id)

    async def aclose(self) -> None:
        """End the queries that are under way; to be called before the registry is closed."""
        for cache in (self._phone_numbers, self._accounts, self._access_keys):
            await cache.aclose()


class _Outage:
    """Whether the database answers, as far as is known."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[bool], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._ask_again_at = 0.0
        self.is_down = False

    def may_ask(self) -> bool:
        return not self.is_down or self._clock() >= self._ask_again_at

    def mark(self, *, is_down: bool) -> None:
        if is_down:
            self._ask_again_at = self._clock() + PAUSE
        if self.is_down != is_down:
            self.is_down = is_down
            self._on_change(is_down)


class _Entry(NamedTuple, Generic[Value]):
    asked_at: float
    value: Value


class _Running(NamedTuple, Generic[Value]):
    asked_at: float
    task: asyncio.Task[Value | None]


class _Cache(Generic[Value]):
    def __init__(
        self,
        ask: Query[Value],
        outage: _Outage,
        clock: Callable[[], float],
        max_entries: int,
    ) -> None:
        self._ask = ask
        self._outage = outage
        self._clock = clock
        self._max_entries = max_entries
        self._entries: OrderedDict[str, _Entry[Value]] = OrderedDict()
        self._queries: dict[str, _Running[Value]] = {}

    async def get(self, id_: str) -> Value | None:
        now = self._clock()
        entry = self._entries.get(id_)
        if entry is not None and now - entry.asked_at < TTL:
            self._entries.move_to_end(id_)
            return entry.value
        old = entry if entry is not None and now - entry.asked_at < GRACE else None
        if not self._outage.may_ask():
            if old is None:
                raise RegistryUnavailableError
            return old.value
        query = self._queries.get(id_) or self._start(id_, now)
        if old is None:
            return await asyncio.shield(query.task)
        patience = 0.0 if self._outage.is_down else max(0.0, query.asked_at + PATIENCE - now)
        await asyncio.wait({query.task}, timeout=patience)
        if not query.task.done():
            self._outage.mark(is_down=True)
            return old.value
        try:
            return query.task.result()
        except RegistryUnavailableError:
            return old.value

    async def aclose(self) -> None:
        tasks = [query.task for query in self._queries.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, id_: str, now: float) -> _Running[Value]:
        def end(task: asyncio.Task[Value | None]) -> None:
            del self._queries[id_]
            if not task.cancelled():
                task.exception()  # looked at, so that asyncio does not report it when every caller has given up

        query = self._queries[id_] = _Running(now, asyncio.create_task(self._query(id_, now)))
        query.task.add_done_callback(end)
        return query

    async def _query(self, id_: str, now: float) -> Value | None:
        try:
            value = await self._ask(id_)
        except RegistryUnavailableError:
            self._outage.mark(is_down=True)
            raise
        self._outage.mark(is_down=False)
        self._entries.pop(id_, None)
        if value is not None:
            self._entries[id_] = _Entry(now, value)
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return value
