"""The journal: which events came, and what became of them. Only reads.

Every query is bounded: a page looks at so many events at most, and goes on by key where the page before ended. So it
may be short, or empty, although there are more.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from whaul.events.database.columns import listed, moment
from whaul.events.database.store import Row, Store
from whaul.events.model import Event
from whaul.events.selecting import LOOSE, Conditions, Selection
from whaul.secrets import Cipher, SecretKeyError

MAX_LOOKED_AT: Final = 50_000
"""Rows that a page looks at."""
TOP: Final = 2**62
"""Above every event's number."""
UNREADABLE: Final = "encrypted with a key that is not in WHAUL_SECRET_KEY"
_COLUMNS: Final = (
    "seq, message_id, received_at, field, kind, type, waba_id, account_id, meta_phone_number_id, wamid, state, item_at"
)


_FILE_COLUMNS: Final = (
    "files.id, files.media_id, files.state, files.bucket, files.key, files.sha256, files.size, files.last_error, "
    "files.account_id, files.mime_type, files.attempts, files.created_at, files.done_at, files.etag"
)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """What became of an event at a destination."""

    destination: str
    """Its name; `#7` if it was removed."""
    state: str
    """`pending`, `delivered`, `open`, `paused` or `dead`."""
    attempts: int
    delivered_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What became of a file that an event names."""

    id: str
    media_id: str
    state: str
    bucket: str
    key: str
    sha256: bytes | None
    size: int | None
    last_error: str | None
    account_id: str
    mime_type: str
    attempts: int
    created_at: datetime
    done_at: datetime | None
    etag: str | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event of the journal, without its content."""

    seq: int
    message_id: str
    received_at: datetime
    field: str
    kind: str
    type: str | None
    waba_id: str
    account_id: str | None
    meta_phone_number_id: str | None
    wamid: str | None
    state: str
    """`routed`, `unrouted` or `unparsed`."""
    sent_at: datetime | None
    """The item's own time."""
    deliveries: list[DeliveryRecord] = dataclasses.field(default_factory=list)
    files: list[FileRecord] = dataclasses.field(default_factory=list)


class AttemptRecord(NamedTuple):
    """An attempt to deliver an event."""

    destination: str
    at: datetime
    outcome: str
    detail: str
    seconds: float


class Page(NamedTuple):
    """Some events, the newest first."""

    events: Sequence[EventRecord]
    next: int | None
    """Where the next page goes on; None at the end."""


class Bounds(NamedTuple):
    """Which events a page looks at."""

    low: int
    high: int
    """The first one that it does not look at."""
    more: bool


class Journal:
    """That of one account number. Methods raise RegistryUnavailableError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def page(self, selection: Selection, limit: int, before: int | None = None) -> Page:
        """Read at most `limit` events that came before an event, or the newest ones."""
        bounds = await self.bounds(selection, before or await self.newest() + 1)
        rows = await self._rows(selection, bounds, "DESC", limit + 1)
        events = await self._records(rows[:limit])
        if len(rows) > limit:
            return Page(events, rows[limit - 1][0])
        return Page(events, bounds.low if bounds.more else None)

    async def after(self, selection: Selection, seq: int, limit: int) -> Sequence[EventRecord]:
        """Read at most `limit` events that came after another one, in their order."""
        return await self._records(await self._rows(selection, Bounds(seq + 1, TOP, more=False), "ASC", limit))

    async def first(self, selection: Selection) -> int:
        """Return a number below which there are no events that came since the selection's time."""
        high, more = await self.newest() + 1, True
        while more:
            high, _, more = await self.bounds(selection, high)
        return high

    async def find(self, message_id: str) -> EventRecord | None:
        """Find an event, the newest one of its id."""
        found = await self.numbers([message_id])
        events = [] if not found else await self.after(Selection(seqs=tuple(found.values())), 0, 1)
        return events[0] if events else None

    async def numbers(self, message_ids: Collection[str]) -> dict[str, int]:
        """Find the newest event of each id."""
        given = self._store.rows("$1", id="text")
        rows = await self._store.read(
            f"""
            SELECT message_id, max(seq) FROM events
            WHERE message_id IN (SELECT id FROM {given}) AND owner = $2 GROUP BY message_id""",
            listed(message_ids),
            self._owner,
        )
        return {row[0]: row[1] for row in rows}

    async def newest(self) -> int:
        """Return the number of the newest event; 0 without any."""
        [(newest,)] = await self._store.read("SELECT coalesce(max(seq), 0) FROM events")
        return int(newest)

    async def attempts(self, seq: int) -> list[AttemptRecord]:
        """Read the attempts to deliver an event, the newest first."""
        names = await self._destinations()
        columns = "destination, at, outcome, detail, seconds"
        statement = f"SELECT {columns} FROM attempts WHERE seq = $1 ORDER BY at DESC, number DESC"
        rows = await self._store.read(statement, seq)
        return [
            AttemptRecord(_name(names, number), moment(at), outcome, self._readable(detail) or "", seconds)
            for number, at, outcome, detail, seconds in rows
        ]

    async def event(self, seq: int) -> Event | None:
        """Read an event with its content; None if it has been removed. Raises SecretKeyError."""
        return (await self.contents([seq])).get(seq)

    async def contents(self, seqs: Iterable[int]) -> dict[int, Event]:
        """Read events with their content, by their numbers. Raises SecretKeyError."""
        given = f"(SELECT id FROM {self._store.rows('$1', id='bigint')})"
        statement = f"SELECT {_COLUMNS}, conversation, entry FROM events WHERE seq IN {given} AND owner = $2"
        rows = await self._store.read(statement, listed(list(seqs)), self._owner)
        return {row[0]: self._event(row) for row in rows}

    def _event(self, row: Row) -> Event:
        (
            seq,
            message_id,
            received_at,
            field,
            kind,
            type_,
            waba_id,
            account_id,
            number,
            wamid,
            *_,
            conversation,
            entry,
        ) = row
        return Event(
            message_id=message_id,
            received_at=moment(received_at),
            kind=kind,
            type=type_,
            field=field,
            waba_id=waba_id,
            meta_phone_number_id=number,
            wamid=wamid,
            conversation=conversation,
            # What could not be parsed may be no text.
            entry=self._cipher.unseal(entry).decode(errors="backslashreplace").encode(),
            seq=seq,
            account_id=account_id,
        )

    async def bounds(self, selection: Selection, high: int) -> Bounds:
        """Say which events a page looks at that ends below `high`."""
        if selection.seqs is not None:
            return Bounds(0, high, more=False)
        where = Conditions(self._store.rows).add("seq < ?", high)
        table = "events"
        if selection.state in {"pending", "dead"}:
            table = "deliveries"
        if selection.state in LOOSE or table == "deliveries":
            where.add(f"state = '{selection.state}' AND state <> 'routed'").add("owner = ?", self._owner)
        [(low, count)] = await self._store.read(
            f"""
            SELECT min(seq), count(*) FROM (
              SELECT seq FROM {table} WHERE {where} ORDER BY seq DESC LIMIT {MAX_LOOKED_AT}) AS looked_at""",
            *where.parameters,
        )
        more = count == MAX_LOOKED_AT
        if more and selection.since is not None and table == "events":
            more = await self._reaches(low, high, selection.since)
        return Bounds(low or 0, high, more)

    async def _reaches(self, low: int, high: int, since: int) -> bool:
        """Say whether any of these came so late. Below a whole page of older ones there is nothing that did."""
        [(newest,)] = await self._store.read(
            "SELECT max(received_at) FROM events WHERE seq >= $1 AND seq < $2", low, high
        )
        return bool(newest >= since)

    async def _rows(self, selection: Selection, bounds: Bounds, order: str, limit: int) -> list[Row]:
        where = Conditions(self._store.rows).add("owner = ?", self._owner).choose(selection, bounds.low, bounds.high)
        statement = f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY seq {order} LIMIT {int(limit)}"
        return await self._store.read(statement, *where.parameters)

    async def _records(self, rows: Sequence[Row]) -> list[EventRecord]:
        """Read what became of events."""
        found = {row[0]: _record(row) for row in rows}
        if found:
            await self._add_deliveries(found)
            await self._add_files(found)
        return list(found.values())

    async def _add_deliveries(self, found: dict[int, EventRecord]) -> None:
        names = await self._destinations()
        given = f"(SELECT id FROM {self._store.rows('$1', id='bigint')})"
        statement = f"""
            SELECT seq, destination, number, at FROM attempts
            WHERE outcome = 'delivered' AND seq IN {given} ORDER BY at"""
        delivered = await self._store.read(statement, listed(found))
        waiting = await self._store.read(
            f"SELECT seq, destination, attempts, state, last_error FROM deliveries WHERE seq IN {given}", listed(found)
        )
        records: dict[tuple[int, int], DeliveryRecord] = {}
        for seq, number, attempts, at in delivered:
            records[seq, number] = DeliveryRecord(_name(names, number), "delivered", attempts, moment(at), None)
        for seq, number, attempts, state, error in waiting:
            before = records.get((seq, number))
            stopped = {"paused": "paused", "open": "open", "disabled": "open"}.get(names.get(number, ("", ""))[1])
            records[seq, number] = DeliveryRecord(
                destination=_name(names, number),
                state=stopped if stopped and state == "pending" else state,
                attempts=attempts,
                delivered_at=None if before is None else before.delivered_at,
                last_error=self._readable(error),
            )
        for (seq, _), record in sorted(records.items()):
            found[seq].deliveries.append(record)

    async def _add_files(self, found: dict[int, EventRecord]) -> None:
        for seq, record in await read_files(self._store, self._cipher, found):
            found[seq].files.append(record)

    async def _destinations(self) -> dict[int, tuple[str, str]]:
        """Read the names and states of destinations, by number."""
        rows = await self._store.read("SELECT number, name, state FROM destinations WHERE owner = $1", self._owner)
        return {number: (name, state) for number, name, state in rows}

    def _readable(self, sealed: str | None) -> str | None:
        return unsealed(self._cipher, sealed)


def _record(row: Row) -> EventRecord:
    seq, message_id, received_at, field, kind, type_, waba_id, account_id, number, wamid, state, item_at = row
    sent_at = None if item_at is None else moment(item_at * 1_000_000)
    what = (field, kind, type_, waba_id, account_id, number, wamid, state, sent_at)
    return EventRecord(seq, message_id, moment(received_at), *what)


async def read_files(store: Store, cipher: Cipher, seqs: Iterable[int]) -> list[tuple[int, FileRecord]]:
    """Read the files that events name, each with the event's number."""
    rows = await store.read(
        f"""
        SELECT event_files.seq, {_FILE_COLUMNS} FROM event_files JOIN files ON files.id = event_files.file
        WHERE event_files.seq IN (SELECT id FROM {store.rows("$1", id="bigint")}) ORDER BY event_files.seq, files.id""",
        listed(list(seqs)),
    )
    return [(row[0], _file(row[1:], cipher)) for row in rows]


async def find_file(store: Store, cipher: Cipher, owner: str, id_: str) -> FileRecord | None:
    """Find a file of an account number by its id."""
    rows = await store.read(f"SELECT {_FILE_COLUMNS} FROM files WHERE id = $1 AND owner = $2", id_, owner)
    return _file(rows[0], cipher) if rows else None


def _file(row: Row, cipher: Cipher) -> FileRecord:
    id_, media_id, state, bucket, key, sha256, size, error, account_id, mime_type, attempts, created, done, etag = row
    done_at = None if done is None else moment(done)
    told = (unsealed(cipher, error), account_id, mime_type, attempts, moment(created), done_at, etag)
    return FileRecord(id_, media_id, state, bucket, key, sha256, size, *told)


def unsealed(cipher: Cipher, sealed: str | None) -> str | None:
    """Read an error that is kept; one of a key that is not there does not hide the rest."""
    if sealed is None:
        return None
    try:
        return cipher.unseal(sealed).decode(errors="replace")
    except SecretKeyError:
        return UNREADABLE


def _name(names: dict[int, tuple[str, str]], number: int) -> str:
    return names[number][0] if number in names else f"#{number}"
