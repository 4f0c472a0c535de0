"""Files of events that came before: their jobs made anew, from the journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from whaul.events.archive.archives import ArchiveStatus
from whaul.events.archive.file_keys import file_key
from whaul.events.backlog import SHARE
from whaul.events.database.columns import listed, microseconds, microseconds_now, moment, readable
from whaul.events.database.store import Row, Statement, Store
from whaul.events.journal import TOP, Journal
from whaul.events.model import Item, MediaRef
from whaul.events.receiving import items
from whaul.events.receiving.drafts import MEDIA_LIFE, file_id, life_begins
from whaul.events.routing import Archive
from whaul.events.selecting import Selection
from whaul.model import LinkedAccount
from whaul.secrets import Cipher

PAGE: Final = 500
"""Events that are read at a time."""
_TYPES: Final = {
    "id": "text",
    "media_id": "text",
    "seq": "bigint",
    "message_type": "text",
    "message_id": "text",
    "mime_type": "text",
    "key": "text",
    "created_at": "bigint",
    "expires_at": "bigint",
}


@dataclass(slots=True)
class Backfilled:
    """How far it came."""

    matched: int = 0
    """Files that events name."""
    queued: int = 0
    """Those of them that are to be fetched: they were not, or failed."""
    expired: int = 0
    """Those that Meta does not have any more."""
    is_full: bool = False
    """Whether it ended since no more may wait."""


class Backfill:
    """That of one account."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        owner: str,
        archive: Archive,
        extensions: Mapping[str, str],
        *,
        displayed: Mapping[str, str],
    ) -> None:
        """`extensions` are those of files by MIME type; `displayed` are Meta's ids of phone numbers by their digits."""
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._archive = archive
        self._extensions = extensions
        self._displayed = displayed
        self._seen: set[str] = set()

    async def run(self, since: datetime, max_queued: int, *, dry_run: bool = False) -> Backfilled:
        """Queue the files of events that came since; those of the newest first.

        Files that are stored, or wait, stay as they are. With `dry_run` nothing is changed.
        """
        found, before, since_at = Backfilled(), TOP, microseconds(since)
        first = await Journal(self._store, self._cipher, self._owner).first(Selection(since=since_at))
        while not found.is_full and (rows := await self._events(first, before, since_at)):
            before = rows[-1][0]
            await self._page(rows, found, max_queued, dry_run=dry_run)
        return found

    async def _events(self, first: int, before: int, since: int) -> list[Row]:
        statement = f"""
            SELECT seq, received_at, entry FROM events
            WHERE owner = $1 AND account_id = $2 AND seq >= $3 AND seq < $4 AND received_at >= $5
              AND kind IN ('message', 'echo', 'notification') AND {readable(self._cipher.key_ids)}
            ORDER BY seq DESC LIMIT {PAGE}"""
        return await self._store.read(statement, self._owner, self._archive.account_id, first, before, since)

    async def _page(self, rows: Iterable[Row], found: Backfilled, max_queued: int, *, dry_run: bool) -> None:
        files: list[dict[str, Any]] = []
        for seq, received_at, entry in rows:
            for item in items.of_entry(self._cipher.unseal(entry)):
                files += [self._file(seq, moment(received_at), item, media) for media in self._media(item)]
        fresh = [file for file in files if file["id"] not in self._seen]
        self._seen.update(file["id"] for file in fresh)
        found.matched += len(fresh)
        alive = [file for file in fresh if file["expires_at"] > microseconds_now()]
        found.expired += len(fresh) - len(alive)
        undone = await self._undone(alive)
        room = max_queued - found.queued
        found.is_full = len(undone) > room
        found.queued += len(undone[:room]) if dry_run else await self._queue(undone[:room])

    def _media(self, item: Item) -> Iterable[MediaRef]:
        numbers = self._archive.meta_phone_number_ids
        number = item.meta_phone_number_id or self._displayed.get(item.display_phone_number or "")
        return item.media if not numbers or number in numbers else ()

    def _file(self, seq: int, received_at: datetime, item: Item, media: MediaRef) -> dict[str, Any]:
        sent_at = life_begins(media, received_at)
        return {
            "id": file_id(self._owner, self._archive.account_id, media.media_id),
            "media_id": media.media_id,
            "seq": seq,
            "message_type": media.message_type,
            "message_id": media.message_id,
            "mime_type": media.mime_type,
            "key": file_key(self._archive, item, media, received_at, self._extensions),
            "created_at": microseconds(datetime.now(UTC)),
            "expires_at": microseconds(sent_at + MEDIA_LIFE),
        }

    async def _undone(self, files: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out what is stored or waits, and what was revoked."""
        if not files:
            return []
        statement = f"""
            SELECT files.id FROM files JOIN {self._store.rows("$1", id="text")} ON files.id = g.id
            WHERE files.state <> 'failed' OR files.revoked"""
        given = listed(file["id"] for file in files)
        done = {row[0] for row in await self._store.read(statement, given)}
        return [file for file in files if file["id"] not in done]

    async def _queue(self, files: list[dict[str, Any]]) -> int:
        if not files:
            return 0
        made, _ = await self._store.run(self._jobs(files), self._links(files))
        return len(made)

    def _jobs(self, files: list[dict[str, Any]]) -> Statement:
        """Make jobs, or begin again those that failed: where to is what the archive says now."""
        names = ", ".join(_TYPES)
        statement = f"""
            INSERT INTO files ({names}, owner, account_id, bucket, state, attempts, run, missing, revoked, told, key_id,
              due_at, fence, takeovers)
            SELECT {names}, $2, $3, $4, 'pending', 0, 0, false, false, false, $5, {self._store.now}, 0, 0
            FROM {self._store.rows("$1", **_TYPES)} WHERE true
            ON CONFLICT (id) DO UPDATE SET state = 'pending', bucket = excluded.bucket, key = excluded.key,
              attempts = 0, run = files.run + 1, done_at = NULL, missing = false, told = false, last_error = NULL,
              due_at = excluded.due_at, created_at = excluded.created_at
            WHERE files.state = 'failed' AND NOT files.revoked
            RETURNING id"""
        given = msgspec.json.encode(files).decode()
        archive = self._archive
        return statement, (given, self._owner, archive.account_id, archive.bucket, self._cipher.key_ids[0])

    def _links(self, files: list[dict[str, Any]]) -> Statement:
        given = self._store.rows("$1", seq="bigint", id="text")
        statement = f"INSERT INTO event_files (seq, file) SELECT seq, id FROM {given} WHERE true ON CONFLICT DO NOTHING"
        return statement, (msgspec.json.encode(files).decode(),)


async def backfill(
    store: Store,
    cipher: Cipher,
    owner: str,
    account: LinkedAccount,
    status: ArchiveStatus,
    *,
    since: datetime,
    max_backlog: int,
    extensions: Mapping[str, str],
    dry_run: bool,
) -> Backfilled:
    """Backfill an account's archive, as far as its share of the backlog allows; see `Backfill`."""
    room = max_backlog // SHARE - status.counts["pending"] - status.counts["parked"]
    displayed = {
        "".join(filter(str.isdigit, number.display_phone_number)): number.meta_id for number in account.phone_numbers
    }
    work = Backfill(store, cipher, owner, status.archive, extensions, displayed=displayed)
    return await work.run(since, max(0, room), dry_run=dry_run)


async def fetch_again(store: Store, owner: str, file: str) -> bool:
    """Have a file fetched now that failed or waits; False if there is none, or nothing is left to be fetched."""
    statement = f"""
        UPDATE files SET due_at = {store.now}, state = 'pending', told = false, missing = false, last_error = NULL,
          attempts = CASE WHEN state = 'failed' THEN 0 ELSE attempts END,
          run = CASE WHEN state = 'failed' THEN run + 1 ELSE run END, done_at = NULL
        WHERE id = $1 AND owner = $2 AND NOT revoked AND expires_at > {store.now}
          AND (state = 'failed' OR state = 'pending' AND lease_owner IS NULL)
        RETURNING id"""
    [rows] = await store.run((statement, (file, owner)))
    return bool(rows)
