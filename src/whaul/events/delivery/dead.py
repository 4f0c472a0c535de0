"""Dead letters: deliveries that were given up. They stay until they are tried again or dropped."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from whaul.events.database.columns import listed, moment
from whaul.events.database.store import Store
from whaul.events.delivery import queueing, replays
from whaul.events.journal import unsealed
from whaul.events.routing import Destination
from whaul.secrets import Cipher

PAGE: Final = 500
"""Rows that are changed at a time."""


class DeadLetter(NamedTuple):
    """One that was given up."""

    id: int
    message_id: str
    destination: str
    attempts: int
    died_at: datetime
    last_error: str | None


class Place(NamedTuple):
    """Where a page goes on."""

    died_at: int
    id: int


class DeadLetters:
    """Those of one account number. Methods raise RegistryUnavailableError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def page(
        self, destinations: Sequence[Destination], limit: int, before: Place | None = None
    ) -> tuple[list[DeadLetter], Place | None]:
        """Read at most `limit` of some destinations, the newest first, and where the next page goes on."""
        place = before or Place(2**62, 2**62)
        statement = """
            SELECT d.died_at, d.id, message_id, attempts, last_error FROM deliveries d JOIN events ON events.seq = d.seq
            WHERE d.destination = $1 AND d.state = 'dead' AND (d.died_at, d.id) < ($2, $3)
            ORDER BY d.died_at DESC, d.id DESC LIMIT $4"""
        rows = [
            (*row, destination.name)
            for destination in destinations
            for row in await self._store.read(statement, destination.number, *place, limit + 1)
        ]
        rows.sort(key=lambda row: (row[0], row[1]), reverse=True)
        letters = [
            DeadLetter(id_, message_id, name, attempts, moment(died_at), unsealed(self._cipher, error))
            for died_at, id_, message_id, attempts, error, name in rows[:limit]
        ]
        return letters, Place(*rows[limit - 1][:2]) if len(rows) > limit else None

    async def count(self, destination: Destination, message_ids: Collection[str]) -> int:
        """Count those of a destination, of some events or of all."""
        which, parameters = self._chosen(message_ids)
        statement = f"SELECT count(*) FROM deliveries d WHERE d.destination = $1 AND d.state = 'dead' {which}"
        [(count,)] = await self._store.read(statement, destination.number, *parameters)
        return int(count)

    async def retry(self, destination: Destination, message_ids: Collection[str]) -> int:
        """Try them again, as if they came last; return how many. They are listed as a replay."""
        queued = 0
        async for rows in self._pages(destination, message_ids):
            seqs = [seq for _, seq in rows]
            told = replays.at_once(self._store, self._owner, destination, seqs)
            results = await self._store.run(*queueing.retry(self._store, destination, seqs), *told)
            queued += len(results[queueing.QUEUED])
        return queued

    async def drop(self, destination: Destination, message_ids: Collection[str]) -> int:
        """Remove them; return how many."""
        removed = 0
        async for rows in self._pages(destination, message_ids):
            given = self._store.rows("$1", id="bigint")
            statement = f"""
                DELETE FROM deliveries WHERE id IN (SELECT id FROM {given}) AND state = 'dead' RETURNING id"""
            [gone] = await self._store.run((statement, (listed([id_ for id_, _ in rows]),)))
            removed += len(gone)
        return removed

    async def _pages(
        self, destination: Destination, message_ids: Collection[str]
    ) -> AsyncIterator[list[tuple[int, int]]]:
        """Read those that are dead now, page by page; what dies meanwhile is not among them."""
        [(now,)] = await self._store.read(f"SELECT {self._store.now}")
        which, parameters = self._chosen(message_ids)
        place = len(parameters) + 2
        statement = f"""
            SELECT d.id, d.seq, d.died_at FROM deliveries d
            WHERE d.destination = $1 AND d.state = 'dead' {which}
              AND (d.died_at, d.id) > (${place}, ${place + 1}) AND d.died_at <= ${place + 2}
            ORDER BY d.died_at, d.id LIMIT {PAGE}"""
        last = Place(-1, 0)
        while rows := await self._store.read(statement, destination.number, *parameters, *last, now):
            yield [(id_, seq) for id_, seq, _ in rows]
            last = Place(rows[-1][2], rows[-1][0])

    def _chosen(self, message_ids: Collection[str]) -> tuple[str, tuple[str, ...]]:
        if not message_ids:
            return "", ()
        given = self._store.rows("$2", id="text")
        events = f"SELECT seq FROM events WHERE message_id IN (SELECT id FROM {given})"
        return f"AND d.seq IN ({events})", (listed(message_ids),)
