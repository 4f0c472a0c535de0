"""Removes what is kept of one person: events, deliveries, dead letters, raw bodies, and what is known of files.

Events are found by the HMACs of the people in them. Raw bodies, and events that could not be parsed, are read one by
one: a body may hold what was dropped as a duplicate, and nothing says who is in it.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final, TypeVar

from whaul.events.database.columns import listed
from whaul.events.database.store import Store
from whaul.events.journal import FileRecord, read_files
from whaul.events.people import Hashes
from whaul.secrets import Cipher, SecretKeyError

Key = TypeVar("Key", int, str)

PAGE: Final = 200
"""Rows that are read or removed at a time."""
_UNPARSED: Final = """
    SELECT seq, entry FROM events WHERE owner = $1 AND seq > $2 AND state = 'unparsed' ORDER BY seq"""
_BODIES: Final = "SELECT id, body FROM webhook_bodies WHERE owner = $1 AND id > $2 ORDER BY id"
_PHONE: Final = re.compile(r"\+?[\d ().-]{5,30}")
_ESCAPE: Final = re.compile(rb"\\u00([2-7][0-9a-fA-F])")


@dataclass(slots=True)
class Found:
    """What is kept of a person."""

    events: list[int] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    files: list[FileRecord] = field(default_factory=list)
    """Those that no event of others names."""
    unreadable: int = 0
    """Bodies and events that are encrypted with a key that is not there."""


class Purge:
    """That of one person. Methods raise RegistryUnavailableError."""

    def __init__(self, store: Store, cipher: Cipher, hashes: Hashes, owner: str, person: str) -> None:
        """`person` is a phone number or a business-scoped user id."""
        self._store = store
        self._cipher = cipher
        self._owner = owner
        names = {person} | ({re.sub(r"\D", "", person)} if _PHONE.fullmatch(person) else set())
        self._hashes = [hashes.person(name) for name in sorted(names)]
        written = b"|".join(re.escape(name).encode() for name in sorted(names))
        self._written = re.compile(rb"(?<![A-Za-z0-9])(?:%s)(?![A-Za-z0-9])" % written)

    async def find(self) -> Found:
        """Find all that is kept."""
        found = Found()
        events = {seq for hash_ in self._hashes async for seq in self._events(hash_)}
        async for seq, names_person in self._search(_UNPARSED, 0):
            if names_person:
                events.add(seq)
            elif names_person is None:
                found.unreadable += 1
        async for id_, names_person in self._search(_BODIES, ""):
            if names_person:
                found.bodies.append(id_)
            elif names_person is None:
                found.unreadable += 1
        found.events = sorted(events)
        found.files = await self._files(found.events)
        return found

    async def remove(self, found: Found, remove_object: Callable[[FileRecord], Awaitable[None]] | None) -> int:
        """Remove it, little by little; return how many events were removed.

        Objects go before what names them, so that this can be begun again wherever it ended.
        """
        if remove_object is not None:
            for file in found.files:
                if file.state == "stored":
                    await remove_object(file)
        removed = 0
        for place in range(0, len(found.events), PAGE):
            removed += await self._remove_events(found.events[place : place + PAGE])
        for place in range(0, len(found.bodies), PAGE):
            given = self._store.rows("$1", id="text")
            statement = f"DELETE FROM webhook_bodies WHERE id IN (SELECT id FROM {given})"
            await self._store.run((statement, (listed(found.bodies[place : place + PAGE]),)))
        return removed

    async def _events(self, hash_: bytes) -> AsyncIterator[int]:
        last = 0
        statement = f"SELECT seq FROM event_parties WHERE party = $1 AND seq > $2 ORDER BY seq LIMIT {PAGE}"
        while rows := await self._store.read(statement, hash_, last):
            last = rows[-1][0]
            for (seq,) in rows:
                yield seq

    async def _search(self, rows_of: str, first: Key) -> AsyncIterator[tuple[Key, bool | None]]:
        """Read content; say of each whether it names the person, None where it cannot be read."""
        last = first
        while rows := await self._store.read(f"{rows_of} LIMIT {PAGE}", self._owner, last):
            last = rows[-1][0]
            for id_, sealed in rows:
                yield id_, self._names_person(sealed)

    def _names_person(self, sealed: str) -> bool | None:
        try:
            content = self._cipher.unseal(sealed)
        except SecretKeyError:
            return None
        if b"\\u00" in content:
            content = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), content)
        return self._written.search(content) is not None

    async def _files(self, events: list[int]) -> list[FileRecord]:
        """Read the files that only these events name."""
        named = {}
        for place in range(0, len(events), PAGE):
            rows = await read_files(self._store, self._cipher, events[place : place + PAGE])
            named.update({file.id: file for _, file in rows})
        ours, shared = set(events), set()
        statement = f"""
            SELECT file, seq FROM event_files WHERE file IN (SELECT id FROM {self._store.rows("$1", id="text")})"""
        for id_, seq in await self._store.read(statement, listed(named)) if named else ():
            if seq not in ours:
                shared.add(id_)
        return [file for id_, file in sorted(named.items()) if id_ not in shared]

    async def _remove_events(self, seqs: Collection[int]) -> int:
        """Remove events and all that belongs to them. What a process has under way comes to nothing."""
        given, parameter = f"(SELECT id FROM {self._store.rows('$1', id='bigint')})", (listed(seqs),)
        files = f"""
            DELETE FROM files WHERE id IN (SELECT file FROM event_files WHERE seq IN {given})
              AND NOT EXISTS (SELECT 1 FROM event_files f WHERE f.file = files.id AND f.seq NOT IN {given})"""
        tables = ("deliveries", "attempts", "event_files", "event_parties")
        statements = [(f"DELETE FROM {table} WHERE seq IN {given}", parameter) for table in tables]
        bodies = f"""
            DELETE FROM webhook_bodies WHERE id IN (
              SELECT body_id FROM events WHERE seq IN {given}) AND owner = $2"""
        events = f"DELETE FROM events WHERE seq IN {given} AND owner = $2 RETURNING seq"
        owned = (*parameter, self._owner)
        *_, rows = await self._store.run((files, parameter), *statements, (bodies, owned), (events, owned))
        return len(rows)
