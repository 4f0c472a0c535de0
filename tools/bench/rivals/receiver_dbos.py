"""A receiver on DBOS: each event is a workflow of one step; its id is the event's key, so that a copy is the same."""

import asyncio

from dbos import DBOS, DBOSConfig, SetWorkflowID

from receiver import Item, Options, Sender, main, serve

ATTEMPTS = 20
senders: list[Sender] = []


class NotTakenError(Exception):
    """The target did not take it."""


@DBOS.step(retries_allowed=True, max_attempts=ATTEMPTS, interval_seconds=1.0, backoff_rate=2.0)
async def send(key: str, body: str) -> None:
    if not await senders[0].send(key, body):
        raise NotTakenError


@DBOS.workflow()
async def deliver(key: str, body: str) -> None:
    await send(key, body)


def launch(options: Options, number: int) -> None:
    config: DBOSConfig = {
        "name": "receiver",
        "system_database_url": options.database,
        "executor_id": f"process-{number}",
        "application_version": "1",
        "log_level": "CRITICAL",
        "run_migrations": True,
    }
    DBOS(config=config)
    DBOS.launch()


async def prepare(_options: Options) -> None:
    """DBOS prepares its database when it is launched."""


async def work(options: Options, number: int) -> None:
    if number:
        await asyncio.sleep(3)  # the first one makes the tables
    launch(options, number)
    senders.append(Sender(options))

    async def keep(items: list[Item]) -> None:
        for item in items:
            with SetWorkflowID(item.key):
                await DBOS.start_workflow_async(deliver, item.key, item.body)

    await serve(options, keep)


if __name__ == "__main__":
    main(work, prepare)
