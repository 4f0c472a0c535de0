"""All that is done about events in a process, started and stopped together.

Builds the parts; what a target is, who the observer is, and what the settings say is given to it.
"""

import random
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from whaul.database_url import is_postgresql
from whaul.events.archive.archiving import Archiving
from whaul.events.archive.fetching import Fetching
from whaul.events.archive.file_keys import file_key
from whaul.events.archive.files import Files
from whaul.events.archive.outcomes import Outcomes
from whaul.events.archive.parking import Parking
from whaul.events.backlog import Backlog, Counting
from whaul.events.database import open_store
from whaul.events.database.duties import Duty
from whaul.events.database.store import Store
from whaul.events.delivery.deliveries import Deliveries
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.outbox import EXTEND, SWEEP, Outbox
from whaul.events.delivery.replays import Replays
from whaul.events.delivery.turns import Turns
from whaul.events.model import Item, MediaRef
from whaul.events.observer import Observer
from whaul.events.people import Hashes
from whaul.events.periodic import every, watching
from whaul.events.processes import Processes
from whaul.events.receiving.drafts import Drafting
from whaul.events.receiving.inbox import TIMEOUT, Inbox
from whaul.events.receiving.intake import Unleased
from whaul.events.receiving.unrouted import PAUSE as LOOK
from whaul.events.receiving.unrouted import Unrouted
from whaul.events.retention import PAUSE, Retention
from whaul.events.routing import Archive, Destination, Routing
from whaul.events.targets import Target
from whaul.registry.errors import RegistryUnavailableError
from whaul.secrets import Cipher

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

RECEIVING: Final = 2
DELIVERING: Final = 3
"""Connections to PostgreSQL for each: webhooks never wait behind deliveries."""
STATEMENT: Final = 5.0
"""Seconds for a transaction that is not a webhook's."""
REFRESH: Final = 60.0
"""Seconds after which the routes are read anew in any case: an older whaul links accounts without telling."""
COUNT: Final = 2.0
"""Seconds between two looks at what waits."""
REPLAY: Final = 1.0
"""Seconds between two looks for events that are to be sent once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the settings say; durations are in seconds."""

    max_events: int
    max_bytes: int
    delivery_period: float
    webhook_retention: float
    event_retention: float
    webhook_timeout: float = TIMEOUT
    """How long a webhook may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What events have to do with and is made elsewhere."""

    targets: Callable[[Destination], Target]
    """Makes the target of a destination. Raises TargetError."""
    observer: Observer
    fetching: Fetching | None = None
    """Fetches files; without it this process archives none."""
    archive_slots: int = 1
    """Files that are fetched at once."""
    operators: Collection[str] = ()
    """The apps, by id, whose secrets are the operator's."""
    tracing: "Tracing | None" = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Extensions of files by MIME type, beside those that are known."""


@dataclass(frozen=True, slots=True)
class Events:
    """What runs."""

    process: str
    """The name of this process, in leases."""
    receiving: Store
    """For webhooks: it gives up in time for their answer."""
    store: Store
    """For everything else."""
    inbox: Inbox
    outbox: Outbox
    routing: Routing
    destinations: Destinations
    backlog: Backlog


@asynccontextmanager
async def events_running(
    url: str, cipher: Cipher, owner: str, limits: Limits, surroundings: Surroundings
) -> AsyncIterator[Events]:
    """Take in, route and deliver events, as long as the block runs.

    At the end what is under way has some time, and jobs that are not done are given back. Raises
    RegistryUnavailableError and SecretKeyError when it cannot start. A database that cannot be written is no reason.
    """
    process, rng = secrets.token_hex(16), random.SystemRandom()
    async with AsyncExitStack() as stack:
        receiving, store = _stores(url, limits.webhook_timeout)
        for opened in {receiving, store}:
            stack.push_async_callback(opened.aclose)
        processes = None if is_postgresql(url) else Processes(url, process)
        if processes is not None:
            processes.enter()
            stack.callback(processes.leave)
        hashes = Hashes(store, cipher, owner)
        routing = Routing(receiving, cipher, owner)
        backlog = Backlog(store, owner, max_events=limits.max_events, max_bytes=limits.max_bytes)
        retention = Retention(store, owner, webhooks=limits.webhook_retention, events=limits.event_retention)
        await retention.prepare()
        outcomes = Outcomes(store, cipher, owner)
        deliveries = Deliveries(store, cipher, owner, process, outcomes.of_events)
        destinations = Destinations(store, cipher, owner)
        outbox = Outbox(
            store=store,
            routing=routing,
            deliveries=deliveries,
            turns=Turns(store, deliveries, process),
            destinations=destinations,
            targets=surroundings.targets,
            observer=surroundings.observer,
            backlog=backlog,
            period=limits.delivery_period,
            rng=rng,
            tracing=surroundings.tracing,
        )
        archiving = None
        if surroundings.fetching is not None:
            files = Files(store, cipher, owner, process)
            archiving = Archiving(
                files=files,
                parking=Parking(store, cipher, owner, files),
                outcomes=outcomes,
                fetching=surroundings.fetching,
                observer=surroundings.observer,
                backlog=backlog,
                concurrency=surroundings.archive_slots,
                rng=rng,
                tracing=surroundings.tracing,
            )

        def name_file(archive: Archive, item: Item, media: MediaRef, received_at: datetime) -> str:
            return file_key(archive, item, media, received_at, surroundings.extensions)

        drafting = Drafting(
            owner=owner,
            cipher=cipher,
            hashes=hashes,
            backlog=backlog,
            deliveries=outbox,
            files=archiving or Unleased(),
            name_file=name_file,
        )
        inbox = Inbox(
            receiving,
            routing,
            drafting,
            process=process,
            observer=surroundings.observer,
            timeout=limits.webhook_timeout,
        )
        await stack.enter_async_context(outbox.running())
        stack.push_async_callback(inbox.aclose)
        if archiving is not None:
            await stack.enter_async_context(archiving.running(inbox.put_again, outbox.wake))
        unrouted = Unrouted(store, cipher, routing, inbox, owner, operators=surroundings.operators)
        counting = Counting(store, owner, backlog, max_events=limits.max_events)
        replays = Replays(store, cipher, owner, outbox.wake)
        with suppress(RegistryUnavailableError):  # such as a database that cannot be written: calls need none of it
            await inbox.prepare()
        watches = [every(COUNT, counting.run), every(LOOK, unrouted.run), every(PAUSE, retention.run)]
        watches.append(every(REFRESH, routing.refresh))
        replaying = Duty(store, owner, "replay", REPLAY / 2)
        watches.append(every(REPLAY, lambda: _replay(replays, replaying)))
        if processes is not None:
            watches.append(every(SWEEP, lambda: processes.free(store)))
            watches.append(every(EXTEND, lambda: processes.free_forgotten(store, outbox.held())))
        await stack.enter_async_context(watching(*watches))
        yield Events(process, receiving, store, inbox, outbox, routing, destinations, backlog)


async def _replay(replays: Replays, duty: Duty) -> None:
    """Send events once more, in one process at a time: several would only ask the database more often."""
    if await duty.is_ours():
        await replays.run(10 * REPLAY)


def _stores(url: str, timeout: float) -> tuple[Store, Store]:
    """Open the store of webhooks and that of all else. SQLite has one writer, whoever asks."""
    if is_postgresql(url):
        receiving = open_store(url, connections=RECEIVING, timeout=timeout)
        return receiving, open_store(url, connections=DELIVERING, timeout=STATEMENT)
    store = open_store(url, connections=1, timeout=timeout)
    return store, store
