"""What became of files, told: in events of our own, and to messages that wait for them."""

import base64
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from whaul.events.database.columns import listed, moment, readable
from whaul.events.database.store import Row, Store
from whaul.events.journal import unsealed
from whaul.events.model import MEDIA_FIELD, Item
from whaul.events.receiving import items
from whaul.events.receiving.drafts import Post
from whaul.events.routing import Account
from whaul.secrets import Cipher

PAGE: Final = 100
LEFT_AFTER: Final = 10_000_000
"""Microseconds after which others tell what the process that did it has not told."""
_COLUMNS: Final = (
    "files.id, files.media_id, files.message_id, files.message_type, files.mime_type, files.state, files.bucket, "
    "files.key, files.etag, files.sha256, files.size, files.last_error"
)

PutAgain = Callable[[Sequence[tuple[Post, str]]], Awaitable[object]]
"""Puts items through the inbox; see `Inbox.put_again`."""


class _Ours(NamedTuple):
    """Whaul itself, which tells of one account, as long as that is linked."""

    account_id: str
    app_id: None = None

    def may_speak_for(self, account: Account | None) -> bool:
        """Whether it may tell of an account."""
        return account is not None and account.id == self.account_id


class Outcomes:
    """Those of the files of one account number."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._readable = readable(cipher.key_ids)

    async def of_events(self, seqs: Sequence[int]) -> Mapping[int, bytes]:
        """Read what is known of the files of events, as the member `whaul` has it."""
        statement = f"""
            SELECT event_files.seq, {_COLUMNS} FROM event_files JOIN files ON files.id = event_files.file
            WHERE event_files.seq IN (SELECT id FROM {self._store.rows("$1", id="bigint")})
            ORDER BY event_files.seq, files.id"""
        rows = await self._store.read(statement, listed(seqs))
        found: dict[int, list[dict[str, Any]]] = {}
        for seq, *row in rows:
            found.setdefault(seq, []).append(self._described(row))
        return {seq: msgspec.json.encode({"media": described}) for seq, described in found.items()}

    async def tell(self, put_again: PutAgain, ids: Collection[str] | None = None) -> set[int]:
        """Tell what became of files, these or those that were left; return the destinations of messages to look for.

        Whoever tells it once more changes nothing: the event's key is known by then.
        """
        destinations: set[int] = set()
        while rows := await self._untold(ids):
            posts = [(self._post(row), "") for row in rows if row[-1] is not None]
            if posts:
                await put_again(posts)
            destinations |= await self._told([row[0] for row in rows])
            if len(rows) < PAGE:
                break
        return destinations

    async def _untold(self, ids: Collection[str] | None) -> list[Row]:
        chosen = f"coalesce(done_at, 0) < {self._store.now} - {LEFT_AFTER}"
        if ids is not None:
            chosen = f"files.id IN (SELECT id FROM {self._store.rows('$2', id='text')})"
        statement = f"""
            SELECT {_COLUMNS}, files.run, files.account_id, coalesce(files.done_at, files.created_at), events.trace,
              events.entry
            FROM files LEFT JOIN events ON events.seq = files.seq
            WHERE files.owner = $1 AND (events.seq IS NULL OR events.{self._readable})
              AND files.state IN ('stored', 'failed') AND told = false AND {chosen} LIMIT {PAGE}"""
        parameters = () if ids is None else (listed(ids),)
        return await self._store.read(statement, self._owner, *parameters)

    async def _told(self, ids: Sequence[str]) -> set[int]:
        """Write that files were told, and make the messages due that have waited for the last of theirs."""
        given = self._store.rows("$1", id="text")
        over = f"""
            seq IN (SELECT seq FROM event_files WHERE file IN (SELECT id FROM {given})) AND state = 'pending' AND waits
            AND first_at IS NULL AND NOT EXISTS (
              SELECT 1 FROM event_files JOIN files ON files.id = event_files.file
              WHERE event_files.seq = deliveries.seq AND files.state IN ('pending', 'parked'))"""
        now, parameter = self._store.now, (listed(ids),)
        told = f"UPDATE files SET told = true WHERE id IN (SELECT id FROM {given})"
        turns = f"""
            UPDATE conversation_turns SET due_at = {now} WHERE lease_owner IS NULL AND due_at > {now}
              AND (destination, conversation) IN (SELECT destination, conversation FROM deliveries WHERE {over})"""
        messages = f"UPDATE deliveries SET due_at = {now} WHERE lease_owner IS NULL AND {over} RETURNING destination"
        _, _, due = await self._store.run((told, parameter), (turns, parameter), (messages, parameter))
        return {row[0] for row in due}

    def _post(self, row: Row) -> Post:
        """Make a post of our own, which says the same whoever makes it."""
        *described, run, account_id, done_at, trace, entry = row
        when = moment(done_at)
        return Post(b"", [self._item(described, run, when, entry)], _Ours(account_id), when, trace)

    def _item(self, row: Sequence[Any], run: int, when: datetime, entry: str) -> Item:
        [origin, *_] = items.of_entry(self._cipher.unseal(entry))
        id_, state, message_id = row[0], row[5], row[2]
        value: dict[str, Any] = {"messaging_product": "whatsapp"}
        metadata = msgspec.json.decode(origin.entry)["changes"][0]["value"].get("metadata")
        if metadata is not None:
            value["metadata"] = metadata
        value["media"] = [self._described(row)]
        written = {"id": origin.waba_id, "changes": [{"value": value, "field": MEDIA_FIELD}]}
        return Item(
            kind="media",
            type=state,
            field=MEDIA_FIELD,
            waba_id=origin.waba_id,
            meta_phone_number_id=origin.meta_phone_number_id,
            display_phone_number=origin.display_phone_number,
            wamid=message_id,
            at=int(when.timestamp()),
            conversation=origin.conversation,
            parties=origin.parties,
            entry=msgspec.json.encode(written),
            sameness=json.dumps([id_, state, run]).encode(),
        )

    def _described(self, row: Sequence[Any]) -> dict[str, Any]:
        """Describe a file as consumers see it. What is not known is left out."""
        _, media_id, message_id, type_, mime_type, state, bucket, key, etag, sha256, size, last_error = row
        described = {
            "id": media_id,
            "message_id": message_id,
            "type": type_,
            "status": state if state in {"stored", "failed"} else "pending",
            "bucket": bucket,
            "key": key,
            "etag": etag,
            "sha256": None if sha256 is None else base64.b64encode(sha256).decode(),
            "file_size": size,
            "mime_type": mime_type,
            "error": unsealed(self._cipher, last_error) if state == "failed" else None,
        }
        return {name: value for name, value in described.items() if value is not None}
