"""Files of messages in the database: how one process claims them, and writes down what came of them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from whaul.events.archive.fetching import Stored
from whaul.events.database.columns import listed
from whaul.events.database.leases import LEASE, Jobs
from whaul.events.database.store import Row, Statement, Store
from whaul.events.receiving.drafts import MEDIA_LIFE, NewFileJob
from whaul.model import S3File
from whaul.secrets import Cipher

LAST_CHANCE: Final = 900.0
"""Seconds before Meta forgets an id at which its file is tried for the last time."""
EXPIRED: Final = "Meta's id of the file ended"
UNDONE_LIFE: Final = int(MEDIA_LIFE.total_seconds()) * 1_000_000
"""Microseconds; what is due all at once is due in the order in which it ends."""
_LOOKED_AT: Final = 1000
"""Due files among which those are chosen that end first."""
_REVIVED: Final = 500
"""Files that are made due at a time."""
_COLUMNS: Final = (
    "seq, account_id, media_id, bucket, key, expires_at, attempts, missing, revoked, "
    "(SELECT trace FROM events WHERE events.seq = files.seq)"
)


@dataclass(slots=True, eq=False)
class FileJob:
    """A file that is ours to archive."""

    id: str
    fence: int
    seq: int
    """The event that named it first."""
    account_id: str
    media_id: str
    place: S3File
    expires_at: int
    """Microseconds."""
    until: float
    """When the lease ends, by the event loop's clock."""
    size: int = 0
    """Bytes of that event, if it is new."""
    attempts: int = 0
    takeovers: int = 0
    missing: bool = False
    """Whether Meta said the last time that there is no such id."""
    revoked: bool = False
    arrival: str | None = None
    """The span of that event's webhook."""

    @property
    def is_first(self) -> bool:
        """Whether nobody has tried it before."""
        return self.fence == 1


class Settled(NamedTuple):
    """What became of a file by an attempt."""

    file: FileJob
    state: str
    """`stored`, `failed`, `parked`, or `pending` to try again."""
    stored: Stored | None = None
    detail: str = ""
    wait: float = 0.0
    """Seconds until the next attempt."""
    counted: bool = True
    """Whether it used up an attempt."""
    missing: bool = False


class Files:
    """Those of one account number, as one process sees them."""

    def __init__(self, store: Store, cipher: Cipher, owner: str, process: str) -> None:
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._jobs = Jobs(store, "files", process, id_type="text", counted=True)

    async def is_due(self) -> bool:
        """Say whether there is a file that is due, in whatever account."""
        statement = f"""
            SELECT 1 FROM files WHERE owner = $1 AND state = 'pending' AND due_at <= {self._store.now}
              AND account_id NOT IN (SELECT account_id FROM parked_accounts WHERE owner = $1) LIMIT 1"""
        return bool(await self._store.read(statement, self._owner))

    async def claim(
        self, limit: int, now: float, accounts: Collection[str] = (), buckets: Collection[str] = ()
    ) -> list[FileJob]:
        """Claim files that are due, those first that Meta forgets first.

        Files of parked accounts are left alone, and those of these accounts and buckets.
        """
        due = f"""
            SELECT id FROM files WHERE owner = $3 AND state = 'pending' AND due_at <= {self._store.now}
              AND account_id NOT IN (SELECT account_id FROM parked_accounts WHERE owner = $3)
              AND account_id NOT IN (SELECT id FROM {self._store.rows("$4", id="text")})
              AND bucket NOT IN (SELECT id FROM {self._store.rows("$5", id="text")})
            ORDER BY due_at LIMIT {_LOOKED_AT}"""
        where = f"state = 'pending' AND id IN ({due})"
        parameters = (self._owner, listed(accounts), listed(buckets))
        [rows] = await self._store.run(self._jobs.claim(where, "expires_at", _COLUMNS, limit, *parameters))
        return sorted((_job(row, now) for row in rows), key=lambda job: job.expires_at)

    async def claim_one(self, id_: str, now: float) -> list[FileJob]:
        """Claim one file, if it is due."""
        where = "state = 'pending' AND id = $3"
        [rows] = await self._store.run(self._jobs.claim(where, "id", _COLUMNS, 1, id_))
        return [_job(row, now) for row in rows]

    async def settle(self, settled: Iterable[Settled]) -> set[str]:
        """Write down what became of files; return the ids of those that were still ours."""
        found = await self._store.run(*(self._settling(each) for each in settled))
        return {row[0] for rows in found for row in rows}

    async def extend(self, files: Iterable[FileJob]) -> set[str]:
        """Extend leases; return the ids of the files that are still ours."""
        [rows] = await self._store.run(self._jobs.extend(files))
        return {row[0] for row in rows}

    async def release(self, files: Iterable[FileJob], wait: float = 0.0) -> None:
        """Give files back; they are due after so many seconds."""
        change = f"due_at = {self._store.now} + {int(wait * 1_000_000)}, lease_owner = NULL, takeovers = 0"
        await self._store.run(self._jobs.change(change, files))

    async def revive(self, column: str, name: str) -> int:
        """Make some of what waits for an account (`account_id`) or a `bucket` due; return how many."""
        statement = f"""
            UPDATE files SET due_at = expires_at - {UNDONE_LIFE} WHERE id IN (
              SELECT id FROM files WHERE owner = $1 AND state = 'pending' AND due_at > {self._store.now}
                AND lease_owner IS NULL AND NOT missing AND {column} = $2
              LIMIT {_REVIVED} {self._store.for_update}) RETURNING id"""
        [rows] = await self._store.run((statement, (self._owner, name)))
        return len(rows)

    async def is_conditional(self, bucket: str) -> bool:
        """Whether a bucket's store honours conditions of a PUT, as far as that was tried."""
        statement = "SELECT 1 FROM archives WHERE owner = $1 AND bucket = $2 AND conditional_writes LIMIT 1"
        return bool(await self._store.read(statement, self._owner, bucket))

    def _settling(self, settled: Settled) -> Statement:
        now, stored = self._store.now, settled.stored
        done = now if settled.state in {"stored", "failed"} else "NULL"
        assignments = f"""
            state = $3, attempts = attempts + $4, missing = $5, last_error = $6, key_id = $7, sha256 = $8, size = $9,
            etag = $10, due_at = {now} + {int(settled.wait * 1_000_000)}, done_at = {done}, lease_owner = NULL,
            takeovers = 0"""
        detail = self._cipher.seal(settled.detail.encode(errors="replace")) if settled.detail else None
        parameters = (
            settled.state,
            int(settled.counted),
            settled.missing,
            detail,
            self._cipher.key_ids[0],
            *((None, None, None) if stored is None else (stored.sha256, stored.size, stored.etag)),
        )
        return self._jobs.change(assignments, [settled.file], "true", *parameters)


def born(job: NewFileJob) -> FileJob:
    """Take a job that was born leased to this process."""
    row, event = job.row, job.event
    return FileJob(
        id=row.id,
        fence=1,
        seq=event.seq,
        account_id=row.account_id,
        media_id=row.media_id,
        place=S3File(row.bucket, row.key),
        expires_at=row.expires_at,
        until=job.until,
        size=len(event.entry),
        arrival=event.arrival,
    )


def _job(row: Row, now: float) -> FileJob:
    id_, fence, takeovers, seq, account_id, media_id, bucket, key, expires_at, attempts, *rest = row
    missing, revoked, arrival = rest
    return FileJob(
        id=id_,
        fence=fence,
        seq=seq,
        account_id=account_id,
        media_id=media_id,
        place=S3File(bucket, key),
        expires_at=expires_at,
        until=now + LEASE,
        attempts=attempts,
        takeovers=takeovers,
        missing=bool(missing),
        revoked=bool(revoked),
        arrival=arrival,
    )
