"""The archives in the database: which accounts' files are kept, where, and how far that is."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from whaul.events.database.columns import moment
from whaul.events.database.store import Row, Store
from whaul.events.routing import Archive, raise_generation
from whaul.secrets import Cipher

MAX_COUNTED: Final = 50_000
"""Files that are counted of one state."""
STATES: Final = ("pending", "stored", "failed", "parked")
_COLUMNS: Final = "archives.account_id, bucket, prefix, key, meta_phone_number_ids, conditional_writes, reason"
_COUNT: Final = f"""
    SELECT count(*) FROM (SELECT 1 FROM files WHERE account_id = $1 AND state = $2 LIMIT {MAX_COUNTED}) AS counted"""
_OLDEST: Final = f"""
    SELECT min(created_at) FROM (
      SELECT created_at FROM files WHERE account_id = $1 AND state IN ('pending', 'parked') LIMIT {MAX_COUNTED}
    ) AS waiting"""


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
        statement = f"""
            SELECT {_COLUMNS} FROM archives LEFT JOIN parked_accounts p ON p.account_id = archives.account_id
            WHERE archives.owner = $1 ORDER BY archives.account_id"""
        rows = await self._store.read(statement, self._owner)
        return [await self._status(row) for row in rows if account_id is None or row[0] == account_id]

    async def _status(self, row: Row) -> ArchiveStatus:
        account_id, bucket, prefix, key, numbers, is_conditional, reason = row
        counts = {state: (await self._store.read(_COUNT, account_id, state))[0][0] for state in STATES}
        [(oldest_at,)] = await self._store.read(_OLDEST, account_id)
        return ArchiveStatus(
            archive=Archive(account_id, bucket, prefix, key, frozenset(json.loads(numbers))),
            is_conditional=bool(is_conditional),
            counts=counts,
            oldest_at=None if oldest_at is None else moment(oldest_at),
            parked_for=None if reason is None else self._cipher.decrypt(reason).get_secret_value(),
        )
