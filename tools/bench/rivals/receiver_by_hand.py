"""A careful receiver, written by hand: each webhook is a transaction, and an outbox delivers with retries and leases.

What is new is handed over in memory, as whaul does; nothing is encrypted, grouped, routed or filtered.
"""

import asyncio
import time
from collections.abc import Iterable

import aiosqlite
import asyncpg

from receiver import AT_ONCE, Item, Options, Sender, main, serve

LEASE = 60
IN_MEMORY = 1000
"""Events that wait in memory."""
TABLE = """
CREATE TABLE IF NOT EXISTS outbox (
  id {id}, key text NOT NULL UNIQUE, body text NOT NULL, attempts int NOT NULL DEFAULT 0, due_at float NOT NULL,
  done_at float)"""
INDEX = "CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at) WHERE done_at IS NULL"

Job = tuple[int, str, str]


class Postgresql:
    """The outbox in PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def prepare(self) -> None:
        for statement in (TABLE.format(id="bigserial PRIMARY KEY"), INDEX):
            await self._pool.execute(statement)
        await self._pool.close()

    async def add(self, items: list[Item], due_at: float) -> list[Job]:
        bodies = {item.key: item.body for item in items}
        rows = await self._pool.fetch(
            "INSERT INTO outbox (key, body, due_at) SELECT k, b, $3 FROM unnest($1::text[], $2::text[]) AS g(k, b) "
            "ON CONFLICT DO NOTHING RETURNING id, key",
            list(bodies),
            list(bodies.values()),
            due_at,
        )
        return [(row[0], row[1], bodies[row[1]]) for row in rows]

    async def claim(self, count: int) -> list[Job]:
        rows = await self._pool.fetch(
            "UPDATE outbox SET due_at = $1 WHERE id IN (SELECT id FROM outbox WHERE done_at IS NULL AND due_at <= $2 "
            "ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING id, key, body",
            time.time() + LEASE,
            time.time(),
            count,
        )
        return [tuple(row) for row in rows]

    async def done(self, id_: int) -> None:
        await self._pool.execute("UPDATE outbox SET done_at = $1 WHERE id = $2", time.time(), id_)

    async def failed(self, id_: int) -> None:
        await self._pool.execute(
            "UPDATE outbox SET attempts = attempts + 1, due_at = $1 + least(power(2, attempts), 3600) WHERE id = $2",
            time.time(),
            id_,
        )


class Sqlite:
    """The outbox in SQLite."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        for statement in (TABLE.format(id="integer PRIMARY KEY"), INDEX):
            await self._database.execute(statement)
        await self._database.close()

    async def add(self, items: list[Item], due_at: float) -> list[Job]:
        new = []
        async with self._lock:
            await self._database.execute("BEGIN IMMEDIATE")
            for item in items:
                row = (item.key, item.body, due_at)
                cursor = await self._database.execute(
                    "INSERT INTO outbox (key, body, due_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row
                )
                if cursor.rowcount:
                    new.append((cursor.lastrowid, item.key, item.body))
            await self._database.commit()
        return new

    async def claim(self, count: int) -> list[Job]:
        async with self._lock:
            rows = await self._database.execute_fetchall(
                "UPDATE outbox SET due_at = ? WHERE id IN (SELECT id FROM outbox WHERE done_at IS NULL AND due_at <= ? "
                "ORDER BY due_at LIMIT ?) RETURNING id, key, body",
                (time.time() + LEASE, time.time(), count),
            )
            await self._database.commit()
        return [tuple(row) for row in rows]

    async def done(self, id_: int) -> None:
        await self._change("UPDATE outbox SET done_at = ? WHERE id = ?", (time.time(), id_))

    async def failed(self, id_: int) -> None:
        await self._change(
            "UPDATE outbox SET due_at = ? + min(1 << min(attempts, 12), 3600), attempts = attempts + 1 WHERE id = ?",
            (time.time(), id_),
        )

    async def _change(self, statement: str, parameters: Iterable[object]) -> None:
        async with self._lock:
            await self._database.execute(statement, tuple(parameters))
            await self._database.commit()


async def opened(options: Options) -> Postgresql | Sqlite:
    if options.database.startswith("postgresql"):
        return Postgresql(await asyncpg.create_pool(options.database, min_size=4, max_size=10))
    database = await aiosqlite.connect(options.database.removeprefix("sqlite:///"), isolation_level=None)
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL"):
        await database.execute(f"PRAGMA {pragma}")
    return Sqlite(database)


async def prepare(options: Options) -> None:
    store = await opened(options)
    await store.prepare()


class Outbox:
    """Hands over in memory what is new, and delivers."""

    def __init__(self, store: Postgresql | Sqlite, sender: Sender) -> None:
        self._store = store
        self._sender = sender
        self._queue: asyncio.Queue[Job] = asyncio.Queue()

    async def keep(self, items: list[Item]) -> None:
        fits = self._queue.qsize() + len(items) <= IN_MEMORY
        new = await self._store.add(items, time.time() + LEASE if fits else time.time())
        if fits:
            self._put(new)

    async def deliver(self) -> None:
        while True:
            id_, key, body = await self._queue.get()
            if await self._sender.send(key, body):
                await self._store.done(id_)
            else:
                await self._store.failed(id_)

    async def sweep(self) -> None:
        while True:
            room = IN_MEMORY - self._queue.qsize()
            found = await self._store.claim(min(room, 200)) if room > 0 else []
            self._put(found)
            await asyncio.sleep(0.02 if found else 1)

    def _put(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._queue.put_nowait(job)


async def work(options: Options, _number: int) -> None:
    outbox = Outbox(await opened(options), Sender(options))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(outbox.deliver())
        tasks.create_task(outbox.sweep())
        tasks.create_task(serve(options, outbox.keep))


if __name__ == "__main__":
    main(work, prepare)
