"""The archives in the database: which accounts' files are kept, where, and how far that is."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from whaul.events.database.columns import listed, moment
from whaul.events.database.store import Row, Store
from whaul.events.routing import Archive, raise_generation
from whaul.secrets import Cipher

MAX_COUNTED: Final = 50_000
"""Files that are counted of one state."""
STATES: Final = ("pending", "stored", "failed", "parked")
_COLUMNS: Final = "archives.account_id, bucket, prefix, key, meta_phone_number_ids, conditional_writes, reason"
_COUNT: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM files WHERE account_id = g.id AND state = '{}' LIMIT {}) AS counted"
)
_OLDEST: Final = f"""
    SELECT min(created_at) FROM (
      SELECT created_at FROM files WHERE account_id = g.id AND state IN ('pending', 'parked') LIMIT {MAX_COUNTED}
    ) AS waiting"""
_STANDINGS: Final = ", ".join(
    f"({each})" for each in [*(_COUNT.format(state, MAX_COUNTED) for state in STATES), _OLDEST]
)


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """An archive, and what became of the account's files so far."""

    archive: Archive
    is_conditional: bool
    """Whether the store honours `If-None-Match: *`."""
    counts: dict[str, int]
    """Files by state; no more than `MAX_COUNTED` of each."""
    oldest_at: datetime | None
    """When the file came that waits longest."""
    parked_for: str | None
    """Why the account's files wait for another token; None if they do not."""


class Archives:
    """Those of one account number. Methods raise RegistryUnavailableError, and SecretKeyError where they read."""

    def __init__(self, store: Store, cipher: Cipher, owner: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner

    async def set(self, archive: Archive, *, is_conditional: bool) -> None:
        """Keep an account's files there from now on. Files that came before go where they were to go."""
        statement = f"""
            INSERT INTO archives (account_id, owner, bucket, prefix, key, meta_phone_number_ids, conditional_writes,
              set_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, {self._store.now})
            ON CONFLICT (account_id) DO UPDATE SET bucket = excluded.bucket, prefix = excluded.prefix,
              key = excluded.key, meta_phone_number_ids = excluded.meta_phone_number_ids,
              conditional_writes = excluded.conditional_writes, set_at = excluded.set_at"""
        numbers = json.dumps(sorted(archive.meta_phone_number_ids))
        parameters = (archive.account_id, self._owner, archive.bucket, archive.prefix, archive.key, numbers)
        # What the store can do holds for the bucket, whoever uses it.
        others = "UPDATE archives SET conditional_writes = $2 WHERE owner = $1 AND bucket = $3"
        await self._store.run(
            (statement, (*parameters, is_conditional)),
            (others, (self._owner, is_conditional, archive.bucket)),
            raise_generation(self._owner),
        )

    async def off(self, account_id: str) -> bool:
        """Keep no more of an account's files; False if none were kept. Those that wait are still archived."""
        statement = "DELETE FROM archives WHERE account_id = $1 AND owner = $2 RETURNING account_id"
        rows, _ = await self._store.run((statement, (account_id, self._owner)), raise_generation(self._owner))
        return bool(rows)

    async def all(self, account_id: str | None = None) -> list[ArchiveStatus]:
        """Say how archives stand, of one account or of all."""
        if account_id is None:
            return await self._statuses(await self._rows("", []))
        return await self._statuses(await self._rows("AND archives.account_id = $2", [account_id]))

    async def page(
        self, size: int, after: str = "", account_ids: Collection[str] | None = None
    ) -> tuple[list[ArchiveStatus], str | None]:
        """Say how some archives of linked accounts stand, of these or of all, and after which one there are more."""
        where, parameters = "AND archives.account_id > $2 AND archives.account_id IN (SELECT id FROM accounts)", [after]
        if account_ids is not None:
            where += f" AND archives.account_id IN (SELECT id FROM {self._store.rows('$3', id='text')})"
            parameters.append(listed(account_ids))
        rows = await self._rows(where, parameters, f"LIMIT {size + 1}")
        return await self._statuses(rows[:size]), rows[size - 1][0] if len(rows) > size else None

    async def _rows(self, where: str, parameters: Sequence[Any], limit: str = "") -> list[Row]:
        statement = f"""
            SELECT {_COLUMNS} FROM archives LEFT JOIN parked_accounts p ON p.account_id = archives.account_id
            WHERE archives.owner = $1 {where} ORDER BY archives.account_id {limit}"""
        return await self._store.read(statement, self._owner, *parameters)

    async def _statuses(self, rows: Sequence[Row]) -> list[ArchiveStatus]:
        given = self._store.rows("$1", id="text")
        counted = await self._store.read(f"SELECT g.id, {_STANDINGS} FROM {given}", listed([row[0] for row in rows]))
        standings = {id_: (dict(zip(STATES, counts, strict=True)), oldest) for id_, *counts, oldest in counted}
        return [self._status(row, *standings[row[0]]) for row in rows]

    def _status(self, row: Row, counts: dict[str, int], oldest_at: int | None) -> ArchiveStatus:
        account_id, bucket, prefix, key, numbers, is_conditional, reason = row
        return ArchiveStatus(
            archive=Archive(account_id, bucket, prefix, key, frozenset(json.loads(numbers))),
            is_conditional=bool(is_conditional),
            counts=counts,
            oldest_at=None if oldest_at is None else moment(oldest_at),
            parked_for=None if reason is None else self._cipher.decrypt(reason).get_secret_value(),
        )
