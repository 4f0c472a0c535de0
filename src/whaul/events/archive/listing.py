"""Files of messages, the newest first. Only reads.

They are found through the events that name them: there is no index by their time. A page looks at so many events at
most, so it may be short, although there are more.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from whaul.events.database.store import Store
from whaul.events.journal import MAX_LOOKED_AT, FileRecord, read_files
from whaul.events.selecting import Conditions
from whaul.secrets import Cipher

_SAME: Final = 50
"""Files of one event that are read beyond a page, which ends between events."""


class ListedFile(NamedTuple):
    """A file, and the event that named it first."""

    message_id: str
    waba_id: str
    file: FileRecord


class FilePage(NamedTuple):
    """Some files."""

    files: Sequence[ListedFile]
    next: int | None
    """Where the next page goes on; None at the end."""


async def list_files(
    store: Store,
    cipher: Cipher,
    owner: str,
    account_ids: Collection[str] | None,
    limit: int,
    *,
    before: int | None = None,
    state: str | None = None,
    media_id: str | None = None,
) -> FilePage:
    """Read about `limit` files of these accounts, or of all. Raises RegistryUnavailableError."""
    [(newest,)] = await store.read("SELECT coalesce(max(seq), 0) FROM events")
    high = before or int(newest) + 1
    low = high - MAX_LOOKED_AT
    where = Conditions(store.rows).add("ef.seq >= ?", low).add("ef.seq < ?", high)
    where.add("f.owner = ?", owner)
    if account_ids is not None:
        where.among("f.account_id", account_ids, "text")
    if state is not None:
        where.add("f.state = ?", state)
    if media_id is not None:
        where.add("f.media_id = ?", media_id)
    rows = await store.read(
        f"""
        SELECT ef.seq, f.id, e.message_id, e.waba_id
        FROM event_files ef JOIN files f ON f.id = ef.file AND f.seq = ef.seq JOIN events e ON e.seq = ef.seq
        WHERE {where} ORDER BY ef.seq DESC, f.id LIMIT {limit + _SAME}""",
        *where.parameters,
    )
    end = min(limit, len(rows))
    while end < len(rows) and rows[end][0] == rows[end - 1][0]:
        end += 1
    records = {file.id: file for _, file in await read_files(store, cipher, {row[0] for row in rows[:end]})}
    found = [ListedFile(message_id, waba_id, records[id_]) for _, id_, message_id, waba_id in rows[:end]]
    if end < len(rows):
        return FilePage(found, rows[end - 1][0])
    return FilePage(found, low if low > 0 else None)


def advice(state: str, error: str | None) -> str | None:
    """Say what to do about a file that is not stored; None if there is nothing to be done."""
    if state == "parked":
        return "Link the account again with a token that Meta takes: whaul link. All its files go on then."
    if state != "failed":
        return None
    return next((told for part, told in _ADVICE.items() if part in (error or "")), _REPAIR)


# By what an error says; see `fetching`, `files` and `drafts`, and docs/archive.md.
_ADVICE: Final = {
    "key taken": "Set another prefix or template, then fetch it again: another object is under this key.",
    "WHAUL_MAX_FILE_SIZE": "Raise WHAUL_MAX_FILE_SIZE, then fetch it again.",
    "131052": "Ask for it to be sent again: Meta could not take it from its sender.",
    "revoked": "Nothing: the sender took the message back.",
    "Meta's id of the file ended": "Nothing: Meta keeps a file for 7 days. Repair the reason for the next ones.",
    "does not exist": "Nothing: Meta does not have this file.",
    "backlog": "Fetch it again when fewer files wait.",
}
_REPAIR: Final = "Repair what the error names, then fetch it again."
