"""Jobs: rows that one process at a time works on. Deliveries, files and the turns of conversations are such rows.

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

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from whaul.events.database.store import Statement, Store

LEASE: Final = 60.0
"""Seconds. Longer than any attempt at delivery may take; a transfer extends it."""
MIN_LEFT: Final = 20.0
"""Seconds of a lease with which an attempt may still begin: it is shorter."""
EXTEND_AT: Final = 40.0
"""Seconds that are left of a lease when it is extended."""
MAX_TAKEOVERS: Final = 5
"""Leases in a row that ended without an outcome. Then the job is given up: it may be what ends the processes."""


class Held(Protocol):
    """A job that is ours."""

    @property
    def id(self) -> int | str:
        """Its row."""
        ...

    @property
    def fence(self) -> int:
        """That of our claim."""
        ...


class Jobs:
    """Writes the statements by which one process claims and holds the jobs of a table.

    With `counted`, taking a job over from a process that left it counts as an attempt at it.
    """

    def __init__(self, store: Store, table: str, process: str, *, id_type: str = "bigint", counted: bool) -> None:
        self._store = store
        self._table = table
        self._process = process
        self._taken = ", attempts = attempts + CASE WHEN lease_owner IS NULL THEN 0 ELSE 1 END" if counted else ""
        self._types = {"id": id_type, "fence": "int"}

    def claim(self, where: str, order: str, columns: str, limit: int, *parameters: Any) -> Statement:
        """Claim jobs that are due, at most `limit`, in an order.

        `where` selects them; its parameters are `$3` and further. The rows are `id`, `fence`, `takeovers`, and the
        columns.
        """
        table = self._table
        statement = f"""
            UPDATE {table} SET due_at = {self._store.lease_end}, lease_owner = $1, fence = fence + 1,
              takeovers = takeovers + CASE WHEN lease_owner IS NULL THEN 0 ELSE 1 END {self._taken}
            WHERE id IN (
              SELECT id FROM {table} WHERE {where} AND due_at <= {self._store.now}
              ORDER BY {order} LIMIT $2 {self._store.for_update})
            RETURNING id, fence, takeovers, {columns}"""
        return statement, (self._process, limit, *parameters)

    def extend(self, held: Iterable[Held]) -> Statement:
        """Extend leases to their whole length. The rows are the ids of the jobs that are still ours."""
        return self.change(f"due_at = {self._store.lease_end}", held)

    def release(self, held: Iterable[Held]) -> Statement:
        """Give jobs back as if they had not been claimed: they are due at once."""
        return self.change(f"due_at = {self._store.now}, lease_owner = NULL, takeovers = 0", held)

    def change(self, assignments: str, held: Iterable[Held], condition: str = "true", *parameters: Any) -> Statement:
        """Change jobs that are ours; parameters are `$3` and further. The rows are the ids of those that still are."""
        statement = f"UPDATE {self._table} SET {assignments} WHERE {self.ours()} AND {condition} RETURNING id"
        return statement, (ids(held), self._process, *parameters)

    def change_each(self, assignments: str, rows: Sequence[dict[str, Any]], **types: str) -> Statement:
        """Change jobs that are ours, each in its own way. The rows are the ids of those that still are.

        `rows` hold `id`, `fence` and further members, whose types are given; assignments know them as `g.<name>`.
        """
        table = self._table
        statement = f"""
            UPDATE {table} SET {assignments} FROM {self._store.rows("$1", **self._types, **types)}
            WHERE {table}.id = g.id AND {table}.fence = g.fence AND {table}.lease_owner = $2
            RETURNING {table}.id"""
        return statement, (msgspec.json.encode(rows).decode(), self._process)

    def delete(self, held: Iterable[Held], condition: str = "true") -> Statement:
        """Delete jobs that are ours. The rows are the ids of those that still were."""
        statement = f"DELETE FROM {self._table} WHERE {self.ours()} AND {condition} RETURNING id"
        return statement, (ids(held), self._process)

    def ours(self) -> str:
        """Write the condition that a row is ours; `$1` are the `ids`, `$2` is the process."""
        given = self._store.rows("$1", **self._types)
        # The first condition finds the rows, by their keys; the second one would not.
        return f"""
            {self._table}.id IN (SELECT id FROM {given})
            AND ({self._table}.id, {self._table}.fence) IN (SELECT id, fence FROM {given})
            AND {self._table}.lease_owner = $2"""


def ids(held: Iterable[Held]) -> str:
    """Write jobs as a parameter."""
    return msgspec.json.encode([{"id": job.id, "fence": job.fence} for job in held]).decode()
