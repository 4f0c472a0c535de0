"""Replays: stored jobs that send events of the journal to a destination once more.

A job is worked off in pages, by whichever server comes first, and where it stands is stored with each page: so it goes
on after a kill, and can be cancelled. Only a little of it waits for the destination at a time: a million events to be
sent again neither fill the table of what waits nor count as backlog.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, NamedTuple

from whaul.events.database.columns import microseconds, moment
from whaul.events.database.store import Row, Statement, Store
from whaul.events.delivery import queueing
from whaul.events.delivery.lanes import REPLAY_SHARE
from whaul.events.delivery.queueing import If
from whaul.events.journal import MAX_LOOKED_AT, Journal
from whaul.events.routing import DESTINATION_COLUMNS, Destination, read_destination
from whaul.events.selecting import Conditions, Selection, read_selection
from whaul.secrets import Cipher

PAGE: Final = 500
"""Events that are queued at a time."""
MAX_WAITING: Final = 1000
"""Replays that wait for a destination until more are queued. See also `max_waiting`."""
AGAIN: Final = 0.05
"""Seconds until a destination is looked at again that has enough."""
KEPT: Final = 30 * 86_400_000_000
"""Microseconds for which a replay that is over is listed."""
_COLUMNS: Final = "id, destination, selection, position, last, matched, queued, state, created_at"


@dataclass(frozen=True, slots=True)
class Replay:
    """A job."""

    id: str
    destination: int
    selection: Selection
    position: int
    """The last event that was looked at."""
    last: int
    matched: int
    queued: int
    """How many were queued so far."""
    state: str
    """`running`, `done` or `cancelled`."""
    created_at: datetime


Step = Literal["queued", "full", "over"]
"""What came of a step: a page was queued; the destination has enough; there is nothing to do, at least for now."""


class Matched(NamedTuple):
    """What a replay would send."""

    events: int
    new: int
    """Those of them that do not wait for the destination already."""
    first: int
    """The number of the oldest."""
    last: int
    """The number of the newest event of the journal."""


class Replays:
    """Those of one account number. Methods raise RegistryUnavailableError."""

    def __init__(
        self, store: Store, cipher: Cipher, owner: str, on_queued: Callable[[int], None] = lambda _number: None
    ) -> None:
        """`on_queued` gets the number of a destination for which more waits."""
        self._store = store
        self._cipher = cipher
        self._owner = owner
        self._on_queued = on_queued
        self._journal = Journal(store, cipher, owner)

    async def match(self, selection: Selection, destination: Destination) -> Matched:
        """Count what a replay would send, page by page."""
        last = await self._journal.newest()
        waits = "EXISTS (SELECT 1 FROM deliveries w WHERE w.seq = events.seq AND w.state = 'pending'"
        events, new, first, high, more = 0, 0, last, last + 1, True
        while more:
            low, high_now, more = await self._journal.bounds(selection, high)
            where = self._conditions(selection, destination, low, high_now)
            waiting = f"{waits} AND w.destination = {where.parameter(destination.number)})"
            statement = f"""
                SELECT count(*), coalesce(sum(CASE WHEN {waiting} THEN 0 ELSE 1 END), 0), min(seq)
                FROM events WHERE {where}"""
            [(count, fresh, oldest)] = await self._store.read(statement, *where.parameters)
            events, new, first, high = events + count, new + int(fresh), min(first, oldest or first), low
        return Matched(events, new, first, last)

    async def start(self, selection: Selection, destination: Destination, matched: Matched) -> str:
        """Store a job; return its id."""
        id_ = secrets.token_hex(8)
        where = (matched.first - 1, matched.last, matched.events, 0, "running")
        await self._store.run(
            *_stored(self._store, (id_, self._owner, destination.number, selection.written(), *where))
        )
        return id_

    async def all(self, since: datetime | None = None) -> list[Replay]:
        """List them, or those that began since then, the newest first."""
        statement = f"SELECT {_COLUMNS} FROM replays WHERE owner = $1 AND created_at >= $2 ORDER BY created_at DESC, id"
        begun = 0 if since is None else microseconds(since)
        return [_replay(row) for row in await self._store.read(statement, self._owner, begun)]

    async def cancel(self, id_: str) -> bool:
        """Queue no more of a job; False if it is not running."""
        return await self._end(id_, "cancelled")

    async def page(self, job: Replay, position: int) -> tuple[list[int], int | None]:
        """Read the numbers of some events of a job that come after a position, and where the next page begins.

        None is the end. The job does not move on.
        """
        destination = await self._destination(job.destination)
        if destination is None:
            return [], None
        return await self._next(replace(job, position=position), destination, PAGE)

    async def run(self, seconds: float = 0.0) -> None:
        """Work on all jobs, as far as their destinations take more; look again at those that do, for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            if not await self._work() or loop.time() >= end:
                return
            await asyncio.sleep(AGAIN)

    async def _work(self) -> bool:
        """Work on all jobs; say whether a destination will soon take more."""
        statement = "SELECT id FROM replays WHERE owner = $1 AND state = 'running' ORDER BY created_at"
        [rows] = await self._store.run((statement, (self._owner,)))
        results: set[Step] = set()
        for (id_,) in rows:
            while (result := await self.step(id_)) == "queued":
                pass
            results.add(result)
        return "full" in results

    async def step(self, id_: str) -> "Step":
        """Queue one page of a job."""
        statement = f"SELECT {_COLUMNS} FROM replays WHERE id = $1 AND owner = $2 AND state = 'running'"
        [rows] = await self._store.run((statement, (id_, self._owner)))
        if not rows:
            return "over"
        job = _replay(rows[0])
        destination = await self._destination(job.destination)
        if destination is None:
            await self._end(id_, "cancelled")
            return "over"
        room = max_waiting(destination) - await self._waiting(job.destination)
        if room <= 0:
            return "full" if destination.state == "active" else "over"
        seqs, position = await self._next(job, destination, min(room, PAGE))
        if position is None:
            await self._end(id_, "done")
            return "over"
        return await self._queue(job, destination, seqs, position)

    async def _queue(self, job: Replay, destination: Destination, seqs: list[int], position: int) -> "Step":
        """Queue a page and move on, unless another process did, or the job was cancelled."""
        step = secrets.token_hex(16)
        move = """
            UPDATE replays SET position = $2, step = $3 WHERE id = $1 AND position = $4 AND state = 'running'
            RETURNING id"""
        only_if = If("EXISTS (SELECT 1 FROM replays WHERE id = $3 AND step = $4)", (job.id, step))
        queue = queueing.replay(self._store, destination, seqs, only_if) if seqs else []
        moved, *results = await self._store.run((move, (job.id, position, step, job.position)), *queue)
        if queue and results[queueing.QUEUED]:
            count = ("UPDATE replays SET queued = queued + $2 WHERE id = $1", (job.id, len(results[queueing.QUEUED])))
            await self._store.run(count)
            self._on_queued(job.destination)
        return "queued" if moved else "over"

    async def _next(self, job: Replay, destination: Destination, limit: int) -> tuple[list[int], int | None]:
        """Find the next events of a job, and up to where it has looked then; None at the end."""
        end = """
            SELECT max(seq) FROM (
              SELECT seq FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS looked_at"""
        [(position,)] = await self._store.read(end, job.position, job.last, MAX_LOOKED_AT)
        if position is None:
            return [], None
        where = self._conditions(job.selection, destination, job.position + 1, position + 1)
        statement = f"SELECT seq FROM events WHERE {where} ORDER BY seq LIMIT {limit}"
        seqs = [row[0] for row in await self._store.read(statement, *where.parameters)]
        return seqs, seqs[-1] if len(seqs) == limit else position

    def _conditions(self, selection: Selection, destination: Destination, low: int, high: int) -> Conditions:
        where = Conditions(self._store.rows).add("owner = ?", self._owner).choose(selection, low, high)
        return where.want(destination.account_ids, destination.filter)

    async def _waiting(self, number: int) -> int:
        statement = f"""
            SELECT count(*) FROM (
              SELECT 1 FROM deliveries WHERE destination = $1 AND replay = true AND state = 'pending'
              LIMIT {MAX_WAITING}) AS waiting"""
        [(count,)] = await self._store.read(statement, number)
        return int(count)

    async def _destination(self, number: int) -> Destination | None:
        """Find a destination as it is now."""
        statement = f"SELECT {DESTINATION_COLUMNS} FROM destinations WHERE number = $1 AND removed_at IS NULL"
        accounts = "SELECT account_id FROM destination_accounts WHERE destination = $1"
        rows, attached = await self._store.run((statement, (number,)), (accounts, (number,)))
        return read_destination(rows[0], self._cipher, [row[0] for row in attached]) if rows else None

    async def _end(self, id_: str, state: str) -> bool:
        statement = "UPDATE replays SET state = $3 WHERE id = $1 AND owner = $2 AND state = 'running' RETURNING id"
        [rows] = await self._store.run((statement, (id_, self._owner, state)))
        return bool(rows)


def at_once(store: Store, owner: str, destination: Destination, seqs: Sequence[int]) -> list[Statement]:
    """Write a job that is done: its events are queued in the same transaction. Whoever follows replays sees it."""
    count, selection = len(seqs), Selection(seqs=tuple(seqs)).written()
    where = (min(seqs) - 1, max(seqs), count, count, "done")
    return _stored(store, (secrets.token_hex(8), owner, destination.number, selection, *where))


def max_waiting(destination: Destination) -> int:
    """Say how many replays may wait for a destination.

    In an ordered one a replay is a part of its conversation, and goes as soon as any. So that replays have their share
    of the places and no more, no more of them wait.
    """
    return max(1, destination.concurrency // REPLAY_SHARE) if destination.ordered else MAX_WAITING


def _stored(store: Store, row: tuple[str, str, int, str, int, int, int, int, str]) -> list[Statement]:
    """Write a job, and forget old ones."""
    forget = f"DELETE FROM replays WHERE owner = $1 AND state <> 'running' AND created_at < {store.now} - {KEPT}"
    insert = f"""
        INSERT INTO replays (id, owner, destination, selection, position, last, matched, queued, state, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {store.now})"""
    return [(forget, (row[1],)), (insert, row)]


def _replay(row: Row) -> Replay:
    id_, destination, selection, position, last, matched, queued, state, created_at = row
    return Replay(
        id=id_,
        destination=destination,
        selection=read_selection(selection),
        position=position,
        last=last,
        matched=matched,
        queued=queued,
        state=state,
        created_at=moment(created_at),
    )
