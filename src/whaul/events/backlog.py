"""How much waits, and whether there is room for more.

One process counts for all and stores it, at most every ten seconds and by bounded queries; each process adds what it
has put since. So a limit is kept to within what arrives in ten seconds.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from whaul.events.database.duties import Duty
from whaul.events.database.store import Store

COUNT: Final = 10.0
"""Seconds between two counts."""
MAX_DEAD: Final = 1_000_000
"""Dead letters that are counted."""

SHARE: Final = 4
"""No destination, and no account's files, hold more than one part of so many."""
ALL: Final = "all"
"""What `Count` is called that is of everything: an event counts once, however many jobs it has."""


def of_destination(number: int) -> str:
    """Name the count of a destination."""
    return f"destination:{number}"


def overdue_of(number: int) -> str:
    """Name the count of what a destination should have been sent already; its `oldest_at` is since when."""
    return f"overdue:{number}"


def of_files(account_id: str) -> str:
    """Name the count of an account's files."""
    return f"files:{account_id}"


@dataclass(frozen=True, slots=True)
class Count:
    """How much waits for something."""

    waiting: int = 0
    bytes: int = 0
    dead: int = 0
    oldest_at: int | None = None
    """Microseconds."""


class Backlog:
    """What waits, for one account number."""

    def __init__(self, store: Store, owner: str, *, max_events: int, max_bytes: int) -> None:
        self._store = store
        self._owner = owner
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.counts: Mapping[str, Count] = {}
        """As they were stored last."""
        self._counted_at: int | None = None
        self._events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        """What this process has put since, less what it has done."""
        self._jobs: dict[int, int] = {}
        """How many jobs wait of the events among them."""

    def is_full(self) -> bool:
        """Whether no more events may come in."""
        return self._holds(ALL, self._max_events, self._max_bytes)

    def has_its_share(self, what: str) -> bool:
        """Whether a destination, or an account's files, may hold no more."""
        return self._holds(what, self._max_events // SHARE, self._max_bytes // SHARE)

    def add(self, what: str, size: int) -> None:
        """Count what was put, until it is counted in the database."""
        self._events[what] += 1
        self._bytes[what] += size

    def add_event(self, seq: int, size: int, jobs: int) -> None:
        """Count an event of which so many jobs wait."""
        self.add(ALL, size)
        self._jobs[seq] = jobs

    def remove(self, what: str, seq: int, size: int) -> None:
        """Count no longer what is done; an event that came since the last count goes with the last of its jobs."""
        self._events[what] -= 1
        self._bytes[what] -= size
        left = self._jobs.get(seq)
        if left is not None:
            self._jobs[seq] = left - 1
            if left == 1:
                del self._jobs[seq]
                self._events[ALL] -= 1
                self._bytes[ALL] -= size

    async def refresh(self) -> None:
        """Read the counts that were stored last. Raises RegistryUnavailableError."""
        statement = "SELECT what, waiting, bytes, dead, oldest_at, counted_at FROM backlog WHERE owner = $1"
        [rows] = await self._store.run((statement, (self._owner,)))
        counted_at = max((row[5] for row in rows), default=None)
        if counted_at != self._counted_at:
            self._counted_at = counted_at
            self._events.clear()
            self._bytes.clear()
            self._jobs.clear()
        self.counts = {row[0]: Count(*row[1:5]) for row in rows}

    def _holds(self, what: str, max_events: int, max_bytes: int) -> bool:
        count = self.counts.get(what, Count())
        return count.waiting + self._events[what] >= max_events or count.bytes + self._bytes[what] >= max_bytes


class Counting:
    """Counts for all processes, and stores it."""

    def __init__(self, store: Store, owner: str, backlog: Backlog, *, max_events: int) -> None:
        self._store = store
        self._owner = owner
        self._backlog = backlog
        self._max_events = max_events
        self._duty = Duty(store, owner, "count", COUNT)

    async def run(self) -> None:
        """Count if it is time to, and read what was counted."""
        if await self._duty.is_ours():
            await self.count()
        await self._backlog.refresh()

    async def count(self) -> None:
        """Count what waits and what is dead, and store it in one transaction."""
        destinations = await self._store.read("SELECT number, ordered FROM destinations WHERE owner = $1", self._owner)
        rows = [await self._destination(number) for number, _ in destinations] + await self._files()
        waiting = [row for row in rows if row["waiting"]]
        # Usually one destination is in trouble, or none; then there is nothing to count twice.
        only = waiting[0] if waiting else _count(ALL, 0, 0, 0, None)
        rows.append(await self._all() if len(waiting) > 1 else only | {"what": ALL, "dead": 0})
        rows += [await self._overdue(number, ordered) for number, ordered in destinations]
        given = self._store.rows("$2", what="text", waiting="bigint", bytes="bigint", dead="bigint", oldest_at="bigint")
        await self._store.run(
            ("DELETE FROM backlog WHERE owner = $1", (self._owner,)),
            (
                f"""
                INSERT INTO backlog (owner, what, waiting, bytes, dead, oldest_at, counted_at)
                SELECT $1, what, waiting, bytes, dead, oldest_at, {self._store.now} FROM {given}""",
                (self._owner, msgspec.json.encode(rows).decode()),
            ),
        )

    async def _all(self) -> dict[str, Any]:
        """An event counts once, whatever waits of it."""
        statement = """
            SELECT count(*), sum(size), min(created_at) FROM (
              SELECT max(size) AS size, min(created_at) AS created_at FROM (
                SELECT seq, size, created_at FROM deliveries WHERE owner = $1 AND state = 'pending' AND NOT replay
                UNION ALL
                SELECT seq, 0, created_at FROM files WHERE owner = $1 AND state IN ('pending', 'parked')
              ) AS jobs GROUP BY seq LIMIT $2
            ) AS waiting"""
        [(waiting, size, oldest_at)] = await self._store.read(statement, self._owner, self._max_events)
        return _count(ALL, waiting, size, 0, oldest_at)

    async def _destination(self, number: int) -> dict[str, Any]:
        """Count no further than its share."""
        waiting = """
            SELECT count(*), sum(size), min(created_at) FROM (
              SELECT size, created_at FROM deliveries
              WHERE destination = $1 AND state = 'pending' AND replay = false LIMIT $2
            ) AS waiting"""
        dead = """
            SELECT count(*) FROM (
              SELECT 1 FROM deliveries WHERE destination = $1 AND state = 'dead' LIMIT $2
            ) AS dead"""
        [(count, size, oldest_at)] = await self._store.read(waiting, number, self._max_events // SHARE)
        [(died,)] = await self._store.read(dead, number, MAX_DEAD)
        return _count(of_destination(number), count, size, died, oldest_at)

    async def _overdue(self, number: int, ordered: bool) -> dict[str, Any]:
        """Find since when the first is due: what is being sent is due when its lease ends. Conversations have turns."""
        jobs = "conversation_turns WHERE" if ordered else "deliveries WHERE state = 'pending' AND replay = false AND"
        due = f"SELECT min(due_at) FROM {jobs} destination = $1 AND due_at < {self._store.now}"
        [(due_at,)] = await self._store.read(due, number)
        return _count(overdue_of(number), 0, 0, 0, due_at)

    async def _files(self) -> list[dict[str, Any]]:
        statement = """
            SELECT account_id, count(*), min(created_at) FROM files
            WHERE owner = $1 AND state IN ('pending', 'parked') GROUP BY account_id"""
        found = await self._store.read(statement, self._owner)
        return [_count(of_files(account_id), waiting, 0, 0, oldest_at) for account_id, waiting, oldest_at in found]


def _count(what: str, waiting: int, size: Any, dead: int, oldest_at: int | None) -> dict[str, Any]:
    # PostgreSQL's sums are decimals.
    return {"what": what, "waiting": waiting, "bytes": int(size or 0), "dead": dead, "oldest_at": oldest_at}
