"""Archiving over a real database, with a simulated Meta and a store that counts."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from harness.bucket import Bucket
from harness.inbox import ACCOUNT_ID, NUMBER, OWNER, REGION, WABA, Installation, installation, post, text
from harness.outbox import Counted, ScriptedTarget
from harness.waiting import PATIENCE
from whaul.events.archive.archiving import Archiving
from whaul.events.archive.fetching import Fetching
from whaul.events.archive.files import Files
from whaul.events.archive.outcomes import Outcomes
from whaul.events.archive.parking import Parking
from whaul.events.delivery.deliveries import Deliveries
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.outbox import Outbox
from whaul.events.delivery.turns import Turns
from whaul.events.receiving.drafts import Post
from whaul.events.routing import Destination, raise_generation
from whaul.graph.client import GraphClient
from whaul.model import GraphToken, MetaAccount, MetaPhoneNumber
from whaul.outbound.http import HttpClient
from whaul.outbound.netguard import MediaHosts
from whaul.registry.registry import open_registry
from whaul.simulator import Simulator
from whaul.storage.credentials import CredentialChain
from whaul.storage.s3 import S3Store
from whaul.storage.s3_config import S3Config
from whaul.telemetry.metrics import Metrics
from whaul.telemetry.spans import Tracing
from whaul.transfer.slots import TransferSlots

MAX_FILE_SIZE = 5_000_000


@dataclass
class Archiver:
    """An installation that archives."""

    here: Installation
    archiving: Archiving
    observer: Counted
    wake: Callable[[int], None] = lambda _destination: None
    """Told of destinations for which messages have become due."""

    def wake_destination(self, number: int) -> None:
        self.wake(number)

    async def until(self, statement: str, *expected: Any) -> None:
        """Wait until a query answers so."""
        async with asyncio.timeout(PATIENCE):
            while await self.here.rows(statement) != [tuple(expected)]:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)

    async def states(self, **expected: int) -> None:
        """Wait until so many files are in these states, and their outcomes told."""
        async with asyncio.timeout(PATIENCE):
            statement = "SELECT state, count(*) FROM files GROUP BY state"
            while dict(await self.here.rows(statement)) != expected:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        await self.until("SELECT count(*) FROM files WHERE state IN ('stored', 'failed') AND told = false", 0)

    async def error(self) -> str:
        """The reason of the one file."""
        return self.here.cipher.unseal(await self.here.value("SELECT last_error FROM files")).decode()

    async def end_soon(self) -> None:
        """Let Meta forget all files in a minute."""
        soon = f"UPDATE files SET expires_at = {self.here.store.now} + 60000000"  # noqa: S608
        await self.here.store.run((soon, ()))

    async def hurry(self) -> None:
        """Make all that waits due."""
        await self.here.store.run(("UPDATE files SET due_at = 0 WHERE state = 'pending' AND lease_owner IS NULL", ()))


async def link(here: Installation, token: str, waba: str = WABA, number: str = NUMBER) -> str:
    """Link an account with this token."""
    account = MetaAccount(waba, "Shrub", [MetaPhoneNumber(number, f"+1 555 {number}", "S")])
    async with open_registry(here.url, here.cipher, account_id=OWNER, region=REGION) as registry:
        return (await registry.accounts.link(account, GraphToken(SecretStr(token)))).id


async def set_archive(here: Installation, account_id: str = ACCOUNT_ID, *, conditional: bool | None = True) -> None:
    """Archive an account's files."""
    await here.add_archive(account_id)
    change = "UPDATE archives SET conditional_writes = $1 WHERE account_id = $2"
    await here.store.run((change, (conditional, account_id)), raise_generation(OWNER))


def fetching(
    http: HttpClient, graph_url: str, s3_url: str, *, slots: TransferSlots | None = None, deadline: float = 10.0
) -> Fetching:
    """Fetch from there to there."""
    return Fetching(
        graph=GraphClient(
            http, url=graph_url, version="v24.0", user_agent="whaul tests", media_hosts=MediaHosts(("127.0.0.1",))
        ),
        store=S3Store(http, S3Config(s3_url), CredentialChain(5.0), region=REGION, addressing_style="path"),
        slots=slots or TransferSlots(20, 20, Metrics()),
        deadline=deadline,
        max_file_size=MAX_FILE_SIZE,
        patience=0.2,
    )


@asynccontextmanager
async def archiver(
    url: str,
    simulator: Simulator,
    s3: Bucket,
    *,
    process: str = "p1",
    concurrency: int = 4,
    slots: TransferSlots | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Archiver]:
    """Run an inbox with an archive."""
    async with installation(url, process=process) as here, HttpClient() as http:
        files = Files(here.store, here.cipher, OWNER, process)
        observer = Counted()
        archiving = Archiving(
            files=files,
            parking=Parking(here.store, here.cipher, OWNER, files),
            outcomes=Outcomes(here.store, here.cipher, OWNER),
            fetching=fetching(http, simulator.url, s3.url, slots=slots),
            observer=observer,
            backlog=here.backlog,
            concurrency=concurrency,
            rng=random.Random(1),  # noqa: S311
            tracing=tracing,
        )
        here.connect(files=archiving)
        found = Archiver(here, archiving, observer)
        async with archiving.running(here.inbox.put_again, found.wake_destination):
            yield found


def images(simulator: Simulator, count: int, size: int = 100) -> list[str]:
    """Put files at Meta; return their ids."""
    return [simulator.add_media(b"%08d" % number + bytes(size), "image/jpeg") for number in range(count)]


def picture(media_id: str) -> dict[str, Any]:
    """A message with a file."""
    content = {"id": media_id, "mime_type": "image/jpeg", "sha256": "x"}
    return text(f"wamid.{media_id}", at=datetime.now(UTC)) | {"type": "image", "image": content}


def pictures(media_ids: Iterable[str]) -> Post:
    """A webhook that comes now."""
    return replace(post(*map(picture, media_ids)), received_at=datetime.now(UTC))


def revocation(wamid: str) -> Post:
    """A customer takes a message back, now."""
    revoked = text(f"{wamid}.revoke", at=datetime.now(UTC)) | {
        "type": "revoke",
        "revoke": {"original_message_id": wamid},
    }
    return replace(post(revoked), received_at=datetime.now(UTC))


@asynccontextmanager
async def outbox_of(there: Archiver, targets: Mapping[str, ScriptedTarget]) -> AsyncIterator[None]:
    """Deliver what an archiver takes in, and wake the outbox for messages whose files are done."""
    here = there.here
    deliveries = Deliveries(
        here.store, here.cipher, OWNER, here.process, Outcomes(here.store, here.cipher, OWNER).of_events
    )

    def target(destination: Destination) -> ScriptedTarget:
        return targets[destination.name]

    outbox = Outbox(
        store=here.store,
        routing=here.routing,
        deliveries=deliveries,
        turns=Turns(here.store, deliveries, here.process),
        destinations=Destinations(here.store, here.cipher, OWNER),
        targets=target,
        observer=there.observer,
        backlog=here.backlog,
        period=3600.0,
        rng=random.Random(1),  # noqa: S311
    )
    here.connect(deliveries=outbox)
    there.wake = outbox.wake
    async with outbox.running():
        yield
