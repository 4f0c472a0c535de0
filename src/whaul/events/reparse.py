"""Events that could not be parsed when they came, split anew: after an upgrade that knows more."""

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from whaul.events.archive.file_keys import file_key
from whaul.events.backlog import Backlog
from whaul.events.database.columns import listed, moment
from whaul.events.database.store import Row, Store
from whaul.events.model import Item, MediaRef
from whaul.events.people import Hashes
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Drafting, Post
from whaul.events.receiving.inbox import Inbox
from whaul.events.receiving.intake import Unleased
from whaul.events.routing import Account, Archive, Routing
from whaul.secrets import Cipher, SecretKeyError

PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class _Remembered:
    """The app whose secret signed an event when it came. The same rule holds as for a webhook."""

    app_id: str | None
    is_operators: bool

    def may_speak_for(self, account: Account | None) -> bool:
        """Whether it may tell of an account; None is one that nobody has linked."""
        if self.is_operators:
            return True
        return self.app_id is not None and (account is None or account.app_id == self.app_id)


class Reparsed(NamedTuple):
    """What came of it."""

    matched: int
    """Events that could not be parsed when they came."""
    routed: int
    """Events that were made of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparse:
    """Splits anew what one account number has. Raises RegistryUnavailableError."""

    store: Store
    cipher: Cipher
    owner: str
    operators: Collection[str]
    """The apps, by id, whose secrets are in the settings."""
    extensions: Mapping[str, str]
    """See `file_key`."""
    max_events: int
    max_bytes: int
    """Of the backlog."""

    async def run(self, since: int | None = None) -> Reparsed:
        """Split them, those that came since a moment (microseconds) or all.

        What is whole goes the way of a webhook that comes now: to the destinations and archives of today. Its jobs are
        left to the servers. One that still cannot be parsed stays.
        """
        inbox = await self._inbox()
        matched = routed = 0
        async for rows in self._pages(since or 0):
            matched += len(rows)
            found = [(row, split) for row in rows if (split := self._split(row))]
            posts = [(self._post(row, split), row[3] or "") for row, split in found]
            results = await inbox.put_again(posts) if posts else []
            routed += sum(result.events - result.unparsed for result in results)
            # Those that their app may not tell of stay.
            await self._remove(
                [row[0] for (row, _), result in zip(found, results, strict=True) if result.events or result.duplicates]
            )
        return Reparsed(matched, routed)

    async def _inbox(self) -> Inbox:
        backlog = Backlog(self.store, self.owner, max_events=self.max_events, max_bytes=self.max_bytes)
        await backlog.refresh()

        def name_file(archive: Archive, item: Item, media: MediaRef, received_at: datetime) -> str:
            return file_key(archive, item, media, received_at, self.extensions)

        drafting = Drafting(
            owner=self.owner,
            cipher=self.cipher,
            hashes=Hashes(self.store, self.cipher, self.owner),
            backlog=backlog,
            deliveries=Unleased(),
            files=Unleased(),
            name_file=name_file,
        )
        routing = Routing(self.store, self.cipher, self.owner)
        return Inbox(self.store, routing, drafting, process=secrets.token_hex(16))

    async def _pages(self, since: int) -> AsyncIterator[Sequence[Row]]:
        """Read those that are there now; ones that are made meanwhile have higher numbers."""
        [(end,)] = await self.store.read("SELECT coalesce(max(seq), 0) FROM events")
        statement = f"""
            SELECT seq, app, received_at, body_id, entry, trace FROM events
            WHERE owner = $1 AND state = 'unparsed' AND seq > $2 AND seq <= $3 AND received_at >= $4
            ORDER BY seq LIMIT {PAGE}"""
        last = 0
        while rows := await self.store.read(statement, self.owner, last, end, since):
            last = rows[-1][0]
            yield rows

    def _split(self, row: Row) -> list[Item]:
        """Split what was kept. Nothing, if it still cannot be parsed."""
        try:
            content = self.cipher.unseal(row[4])
        except SecretKeyError:
            return []
        found = items.of_unparsed(content)
        return [] if all(item.kind == "unparsed" for item in found) else found

    def _post(self, row: Row, found: Sequence[Item]) -> Post:
        app = row[1]
        return Post(b"", found, _Remembered(app, app in self.operators), moment(row[2]), row[5])

    async def _remove(self, seqs: Collection[int]) -> None:
        given = f"(SELECT id FROM {self.store.rows('$1', id='bigint')})"
        await self.store.run((f"DELETE FROM events WHERE seq IN {given} AND state = 'unparsed'", (listed(seqs),)))
