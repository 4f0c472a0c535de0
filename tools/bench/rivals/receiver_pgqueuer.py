"""A receiver on pgqueuer: a webhook's keys and its jobs are one transaction; pgqueuer runs the jobs."""

import asyncio
import logging
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from receiver import Item, Options, Sender, main, serve

BATCH = 50


async def prepare(options: Options) -> None:
    connection = await asyncpg.connect(options.database)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.execute("CREATE TABLE seen (key text PRIMARY KEY)")
    await connection.close()


async def work(options: Options, _number: int) -> None:
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    pool = await asyncpg.create_pool(options.database, min_size=4, max_size=10)
    runner = PgQueuer.from_asyncpg_connection(await asyncpg.connect(options.database))
    sender = Sender(options)

    async def keep(items: list[Item]) -> None:
        bodies = {item.key: item.body for item in items}
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                "INSERT INTO seen SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING key", list(bodies)
            )
            payloads = [f"{row[0]}{bodies[row[0]]}".encode() for row in rows]
            if payloads:
                queries = Queries(AsyncpgDriver(connection))
                await queries.enqueue(["deliver"] * len(payloads), payloads, [0] * len(payloads))

    @runner.entrypoint("deliver")
    async def deliver(job: Job) -> None:
        assert job.payload is not None
        text = job.payload.decode()
        if not await sender.send(text[:64], text[64:]):
            raise RetryRequested(delay=timedelta(seconds=2 ** min(job.attempts, 12)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(batch_size=BATCH))
        tasks.create_task(serve(options, keep))


if __name__ == "__main__":
    main(work, prepare)
