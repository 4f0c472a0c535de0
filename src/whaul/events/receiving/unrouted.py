"""Events that came before their account was linked: routed when it is, as if they came then."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from whaul.events.database.columns import listed, moment
from whaul.events.database.duties import Duty
from whaul.events.database.store import Row, Store
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Post
from whaul.events.receiving.inbox import Inbox
from whaul.events.routing import Account, Routes, Routing
from whaul.secrets import Cipher

PAUSE: Final = 2.0
"""Seconds between two looks."""
SETTLED: Final = 5.0
"""Seconds after a change for which we look again: a webhook that was under way then may have been kept after it."""
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The app whose secret signed an event when it came. The same rule holds as for a webhook."""

    app_id: str | None
    is_operators: bool

    def may_speak_for(self, account: Account | None) -> bool:
        """Whether it may tell of an account."""
        if account is None or self.app_id is None:
            return False
        return self.is_operators or self.app_id == account.app_id


class Unrouted:
    """Those of one account number."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        routing: Routing,
        inbox: Inbox,
        owner: str,
        *,
        operators: Collection[str],
    ) -> None:
        """`operators` are the apps, by id, whose secrets are in the settings: they speak for every account."""
        self._store = store
        self._cipher = cipher
        self._routing = routing
        self._inbox = inbox
        self._owner = owner
        self._operators = operators
        self._duty = Duty(store, owner, "route", PAUSE / 2)
        self._routes: Routes | None = None
        self._changed_at = 0.0

    async def run(self) -> None:
        """Route what can be routed, if anything has changed lately."""
        routes = await self._routing.current()
        now = asyncio.get_running_loop().time()
        if routes is not self._routes and (self._routes is None or routes.accounts != self._routes.accounts):
            self._changed_at = now
        self._routes = routes
        if now - self._changed_at <= SETTLED + PAUSE and await self._duty.is_ours():
            await self.route()

    async def route(self) -> int:
        """Route those whose account is linked; return how many. One that was known in the meantime is removed."""
        routed, last = 0, 0
        while rows := await self._page(last):
            last = rows[-1][0]
            results = await self._inbox.put_again([(self._post(row), row[3] or "") for row in rows])
            routed += sum(result.events for result in results)
            # Those whose app may not speak for the account stay.
            await self._remove([row[0] for row, result in zip(rows, results, strict=True) if not result.foreign])
        return routed

    async def _page(self, last: int) -> list[Row]:
        statement = f"""
            SELECT seq, app, received_at, body_id, trace, entry FROM events
            WHERE owner = $1 AND state = 'unrouted' AND seq > $2
              AND waba_id IN (SELECT meta_waba_id FROM accounts WHERE owner = $1)
            ORDER BY seq LIMIT {PAGE}"""
        [rows] = await self._store.run((statement, (self._owner, last)))
        return rows

    def _post(self, row: Row) -> Post:
        _, app, received_at, _, trace, entry = row
        found = items.of_entry(self._cipher.unseal(entry))
        return Post(b"", found, _Remembered(app, app in self._operators), moment(received_at), trace)

    async def _remove(self, seqs: Collection[int]) -> None:
        given = f"(SELECT id FROM {self._store.rows('$1', id='bigint')})"
        await self._store.run(
            (f"DELETE FROM event_parties WHERE seq IN {given}", (listed(seqs),)),
            (f"DELETE FROM events WHERE seq IN {given} AND state = 'unrouted'", (listed(seqs),)),
        )


async def unrouted_of(store: Store, owner: str, meta_waba_id: str) -> int:
    """Count the events that wait for an account to be linked. Raises RegistryUnavailableError."""
    statement = (
        "SELECT count(*) FROM events WHERE owner = $1 AND state = 'unrouted' AND state <> 'routed' AND waba_id = $2"
    )
    [(count,)] = await store.read(statement, owner, meta_waba_id)
    return int(count)
