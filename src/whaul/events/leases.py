"""Jobs: rows that one process at a time works on. Deliveries, files and the turns of conversations all use this.

    theory of operation

A job has one moment, `due_at`. Until then nobody touches it; from then on anybody may claim it. To claim it is to move
that moment to the end of a lease, and to write down who has it. Whoever has it extends the lease, ends the job, or
puts it off to a later moment. A process that dies does none of that, so its jobs become due by themselves. Every claim
raises the row's `fence`, and every write names the fence that it was claimed with: who lost a lease, and does not
know it yet, changes nothing.

Moments are those of the database's clock; how much of a lease is left is measured here, on a monotonic clock, from
before the claim was sent. On SQLite a lease has no end: processes of one machine see by a lock file which of them live
(see `processes`), and no clock that jumps takes a job from one that works on it.

A job is born leased if its maker will do it at once. So the usual job is written once and deleted once, and nobody
searches for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from whaul.events.store import Statement, Store

LEASE: Final = 60.0
"""Seconds. Longer than any attempt at delivery may take; a transfer renews it."""
MIN_LEFT: Final = 20.0
"""Seconds of a lease with which an attempt may still begin: an attempt is shorter."""
MAX_TAKEOVERS: Final = 5
"""Leases that end without an outcome before a job is given up: it may be what kills the processes."""


class Held(NamedTuple):
    """A job that is ours."""

    id: int | str
    fence: int


@dataclass(slots=True)
class Lease:
    """How long a job is ours."""

    until: float
    """Monotonic seconds."""

    def left(self, now: float) -> float:
        """Return the seconds that are left."""
        return self.until - now


class Jobs:
    """The jobs of a table, as one process claims and holds them."""

    def __init__(self, store: Store, table: str, process: str, *, id_type: str = "bigint") -> None:
        self._store = store
        self._table = table
        self._process = process
        self._held = store.rows("$1", id=id_type, fence="int")
        """SQL for rows that are held; the parameter is made by `ids`."""

    def claim(self, where: str, order: str, columns: str, limit: int, *parameters: object) -> Statement:
        """Write a claim of jobs that are due, at most `limit`, in an order.

        `where` selects them; its parameters are `$3` and further. The rows are the columns, `id` and `fence` before
        them, and then whether the job was taken over from a process that left it.
        """
        table = self._table
        statement = f"""
            UPDATE {table} SET due_at = {self._store.lease_end}, lease_owner = $1, fence = fence + 1,
              takeovers = takeovers + CASE WHEN lease_owner IS NULL THEN 0 ELSE 1 END
            WHERE id IN (
              SELECT id FROM {table} WHERE {where} AND due_at <= {self._store.now}
              ORDER BY {order} LIMIT $2 {self._store.for_update})
            RETURNING id, fence, takeovers, {columns}"""
        return statement, (self._process, limit, *parameters)

    def extend(self, held: Iterable[Held]) -> Statement:
        """Write an extension of leases by their whole length; the rows are the ids of those that are ours still."""
        return self._update(held, f"due_at = {self._store.lease_end}")

    def release(self, held: Iterable[Held]) -> Statement:
        """Write that jobs are given back as if they had not been claimed: they are due at once."""
        return self._update(held, f"due_at = {self._store.now}, lease_owner = NULL")

    def _update(self, held: Iterable[Held], change: str) -> Statement:
        table = self._table
        statement = f"""
            UPDATE {table} SET {change} FROM {self._held}
            WHERE {table}.id = g.id AND {table}.fence = g.fence AND {table}.lease_owner = $2
            RETURNING {table}.id"""
        return statement, (ids(held), self._process)


def ids(held: Iterable[Held]) -> str:
    """Write jobs as a parameter for `Store.rows`."""
    return msgspec.json.encode([{"id": job.id, "fence": job.fence} for job in held]).decode()
