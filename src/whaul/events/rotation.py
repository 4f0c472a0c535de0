"""A new secret key for what waits: deliveries, dead letters, files, and events that are not routed.

What is only kept is not touched: it goes with `WHAUL_EVENT_RETENTION`, and until then the old key is needed to show it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from whaul.events.database.columns import moment
from whaul.events.database.store import Row, Statement, Store
from whaul.secrets import Cipher

PAGE: Final = 200


class Rotation:
    """That of one account number. Methods raise RegistryUnavailableError and SecretKeyError."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._newest = cipher.key_ids[0]

    async def renew(self) -> int:
        """Encrypt with the first key what waits and another one encrypted, page by page; return how many rows."""
        deliveries = """
            SELECT d.id, d.last_error, events.seq, events.entry FROM deliveries d JOIN events ON events.seq = d.seq
            WHERE d.owner = $1 AND d.key_id <> $2 AND d.id > $3 ORDER BY d.id"""
        loose = """
            SELECT seq, entry FROM events
            WHERE owner = $1 AND key_id <> $2 AND seq > $3 AND state <> 'routed' ORDER BY seq"""
        files = "SELECT id, last_error FROM files WHERE owner = $1 AND key_id <> $2 AND id > $3 ORDER BY id"
        return (
            await self._pages(deliveries, 0, self._renewed_deliveries)
            + await self._pages(loose, 0, lambda rows: [self._renewed("events", "seq", "entry", rows)])
            + await self._pages(files, "", lambda rows: [self._renewed("files", "id", "last_error", rows)])
        )

    async def old_key_needed_until(self, retention: float) -> datetime | None:
        """Say when the last event that an older key encrypted is removed; None if there is none.

        `retention` is in seconds.
        """
        statement = "SELECT received_at FROM events WHERE owner = $1 AND key_id <> $2 ORDER BY seq DESC LIMIT 1"
        rows = await self._store.read(statement, self._owner, self._newest)
        return moment(rows[0][0] + int(retention * 1_000_000)) if rows else None

    async def _pages(self, select: str, first: Any, change: Callable[[Sequence[Row]], Sequence[Statement]]) -> int:
        renewed, last = 0, first
        while True:
            [rows] = await self._store.run((f"{select} LIMIT {PAGE}", (self._owner, self._newest, last)))
            if not rows:
                return renewed
            last = rows[-1][0]
            await self._store.run(*change(rows))
            renewed += len(rows)

    def _renewed_deliveries(self, rows: Sequence[Row]) -> Sequence[Statement]:
        events = {row[2]: (row[2], row[3]) for row in rows}  # several deliveries may share one
        return [
            self._renewed("events", "seq", "entry", list(events.values())),
            self._renewed("deliveries", "id", "last_error", [row[:2] for row in rows]),
        ]

    def _renewed(self, table: str, key: str, content: str, rows: Sequence[Row]) -> Statement:
        given = self._store.rows("$1", place="text" if table == "files" else "bigint", content="text")
        statement = f"""
            UPDATE {table} SET {content} = g.content, key_id = $2 FROM {given} WHERE {table}.{key} = g.place"""
        values = [{"place": row[0], "content": self._again(row[1])} for row in rows]
        return statement, (msgspec.json.encode(values).decode(), self._newest)

    def _again(self, sealed: str | None) -> str | None:
        return None if sealed is None else self._cipher.seal(self._cipher.unseal(sealed))
