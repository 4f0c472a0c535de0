"""Dead letters: deliveries that were given up. They stay until they are tried again or dropped."""

import re
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from whaul.events.database.columns import listed, microseconds, moment
from whaul.events.database.store import Store
from whaul.events.delivery import queueing, replays
from whaul.events.journal import unsealed
from whaul.events.routing import Destination
from whaul.secrets import Cipher

PAGE: Final = 500
"""Rows that are changed at a time."""
MAX_LOOKED_AT: Final = 10_000
"""Of the newest ones, those that are looked at for their causes: errors are encrypted, so no query knows them."""
UNKNOWN: Final = "unknown"
"""The cause of what has none."""
_MAX_HEAD: Final = 80
"""Characters."""
_HTTP: Final = re.compile(r"HTTP \d{3}\b")
_LONG_NUMBER: Final = re.compile(r"\d{4,}")


class DeadLetter(NamedTuple):
    """One that was given up."""

    id: int
    message_id: str
    waba_id: str
    destination: str
    attempts: int
    died_at: datetime
    last_error: str | None

    @property
    def cause(self) -> str:
        """What it has in common with others."""
        return cause_of(self.last_error)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why dead letters of a destination were given up."""

    text: str
    count: int
    newest: datetime
    example: str
    """The error of the newest one, whole."""


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
        self, destinations: Sequence[Destination], limit: int, before: Place | None = None, cause: str | None = None
    ) -> tuple[list[DeadLetter], Place | None]:
        """Read at most `limit` of some destinations, the newest first, and where the next page goes on.

        With a cause, a page looks at `MAX_LOOKED_AT` at most: it may be short, although there are more.
        """
        if cause is None:
            return await self._newest(destinations, limit, before)
        found: list[DeadLetter] = []
        for _ in range(MAX_LOOKED_AT // PAGE):
            letters, before = await self._newest(destinations, PAGE, before)
            found += [letter for letter in letters if letter.cause == cause]
            if len(found) > limit:
                last = found[limit - 1]
                return found[:limit], Place(microseconds(last.died_at), last.id)
            if before is None:
                break
        return found, before

    async def causes(self, destination: Destination) -> list[Cause]:
        """Group the newest of a destination by their causes, the most frequent first."""
        found: dict[str, Cause] = {}
        letters, _ = await self._newest([destination], MAX_LOOKED_AT, None)
        for letter in letters:
            known = found.get(letter.cause) or Cause(letter.cause, 0, letter.died_at, letter.last_error or "")
            found[letter.cause] = replace(known, count=known.count + 1)
        return sorted(found.values(), key=lambda each: -each.count)

    async def _newest(
        self, destinations: Sequence[Destination], limit: int, before: Place | None
    ) -> tuple[list[DeadLetter], Place | None]:
        place = before or Place(2**62, 2**62)
        statement = """
            SELECT d.died_at, d.id, message_id, waba_id, attempts, last_error
            FROM deliveries d JOIN events ON events.seq = d.seq
            WHERE d.destination = $1 AND d.state = 'dead' AND (d.died_at, d.id) < ($2, $3)
            ORDER BY d.died_at DESC, d.id DESC LIMIT $4"""
        rows = [
            (*row, destination.name)
            for destination in destinations
            for row in await self._store.read(statement, destination.number, *place, limit + 1)
        ]
        rows.sort(key=lambda row: (row[0], row[1]), reverse=True)
        letters = [
            DeadLetter(id_, message_id, waba_id, name, attempts, moment(died_at), unsealed(self._cipher, error))
            for died_at, id_, message_id, waba_id, attempts, error, name in rows[:limit]
        ]
        return letters, Place(*rows[limit - 1][:2]) if len(rows) > limit else None

    async def count(
        self, destination: Destination, message_ids: Collection[str] = (), *, cause: str | None = None
    ) -> int:
        """Count those of a destination: of some events or of all, of one cause or of any."""
        if cause is not None:
            return sum([len(rows) async for rows in self._pages(destination, message_ids, cause)])
        which, parameters = self._chosen(message_ids)
        statement = f"SELECT count(*) FROM deliveries d WHERE d.destination = $1 AND d.state = 'dead' {which}"
        [(count,)] = await self._store.read(statement, destination.number, *parameters)
        return int(count)

    async def retry(
        self, destination: Destination, message_ids: Collection[str] = (), *, cause: str | None = None
    ) -> int:
        """Try them again, as if they came last; return how many. They are listed as a replay."""
        queued = 0
        async for rows in self._pages(destination, message_ids, cause):
            seqs = [seq for _, seq in rows]
            told = replays.at_once(self._store, self._owner, destination, seqs)
            results = await self._store.run(*queueing.retry(self._store, destination, seqs), *told)
            queued += len(results[queueing.QUEUED])
        return queued

    async def drop(
        self, destination: Destination, message_ids: Collection[str] = (), *, cause: str | None = None
    ) -> int:
        """Remove them; return how many."""
        removed = 0
        async for rows in self._pages(destination, message_ids, cause):
            given = self._store.rows("$1", id="bigint")
            statement = f"""
                DELETE FROM deliveries WHERE id IN (SELECT id FROM {given}) AND state = 'dead' RETURNING id"""
            [gone] = await self._store.run((statement, (listed([id_ for id_, _ in rows]),)))
            removed += len(gone)
        return removed

    async def _pages(
        self, destination: Destination, message_ids: Collection[str], cause: str | None
    ) -> AsyncIterator[list[tuple[int, int]]]:
        """Read those that are dead now, page by page; what dies meanwhile is not among them."""
        [(now,)] = await self._store.read(f"SELECT {self._store.now}")
        which, parameters = self._chosen(message_ids)
        place = len(parameters) + 2
        statement = f"""
            SELECT d.id, d.seq, d.died_at, d.last_error FROM deliveries d
            WHERE d.destination = $1 AND d.state = 'dead' {which}
              AND (d.died_at, d.id) > (${place}, ${place + 1}) AND d.died_at <= ${place + 2}
            ORDER BY d.died_at, d.id LIMIT {PAGE}"""
        last = Place(-1, 0)
        while rows := await self._store.read(statement, destination.number, *parameters, *last, now):
            chosen = [
                (id_, seq)
                for id_, seq, _, error in rows
                if cause is None or cause_of(unsealed(self._cipher, error)) == cause
            ]
            if chosen:
                yield chosen
            last = Place(rows[-1][2], rows[-1][0])

    def _chosen(self, message_ids: Collection[str]) -> tuple[str, tuple[str, ...]]:
        if not message_ids:
            return "", ()
        given = self._store.rows("$2", id="text")
        events = f"SELECT seq FROM events WHERE message_id IN (SELECT id FROM {given})"
        return f"AND d.seq IN ({events})", (listed(message_ids),)


def cause_of(error: str | None) -> str:
    """Leave out of an error what differs from event to event: what is said behind a status or code, and numbers."""
    if not error:
        return UNKNOWN
    line = " ".join(error.split())
    status = _HTTP.match(line)
    head = status[0] if status else line.partition(": ")[0]
    return _LONG_NUMBER.sub("…", head)[:_MAX_HEAD]
