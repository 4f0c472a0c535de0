"""An outbox over a real database, and targets that do as they are told."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.inbox import OWNER, Installation, installation
from harness.waiting import PATIENCE
from whaul.events.delivery.deliveries import Deliveries
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.outbox import Outbox
from whaul.events.delivery.turns import Turns
from whaul.events.model import Accepted, Event, Outcome, Outcomes
from whaul.events.routing import Destination
from whaul.registry.errors import RegistryUnavailableError
from whaul.telemetry.spans import Tracing


@dataclass
class ScriptedTarget:
    """Answers as its script says, and keeps what it was sent."""

    answer: Callable[[Event], Outcome] = lambda _event: Accepted("ok")
    max_batch: int = 1
    sent: list[Event] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """What every answer waits for."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def send(self, events: Sequence[Event]) -> Outcomes:
        self.sent.extend(events)
        self.batches.append(len(events))
        self.arrived.set()
        if self.gate is not None:
            await self.gate.wait()
        return [self.answer(event) for event in events]

    async def close(self) -> None:
        self.closed = True

    @property
    def wamids(self) -> list[str | None]:
        return [event.wamid for event in self.sent]

    async def got(self, count: int) -> list[str | None]:
        """Wait for so many events."""
        while len(self.sent) < count:
            self.arrived.clear()
            await self.arrived.wait()
        return self.wamids


@dataclass
class Counted:
    """An observer."""

    outcomes: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    late: int = 0

    def event(self, _field: str, _kind: str) -> None: ...

    def delivered(self, _destination: str, outcome: str, _seconds: float | None) -> None:
        self.outcomes[outcome] += 1

    def archived(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def taken_over(self, count: int) -> None:
        self.taken += count

    def lost(self, count: int) -> None:
        self.late += count


@dataclass
class Delivering:
    """An installation whose outbox runs; `targets` by destination name."""

    here: Installation
    outbox: Outbox
    destinations: Destinations
    observer: Counted

    async def settled(self, count: int = 0) -> None:
        """Wait until no more than so many deliveries wait."""
        await self.until(f"SELECT count(*) <= {count} FROM deliveries WHERE state = 'pending'", True)  # noqa: S608

    async def until(self, statement: str, *expected: Any) -> None:
        """Wait until a query answers so."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(RegistryUnavailableError):
                    if await self.here.rows(statement) == [tuple(expected)]:
                        return
                await asyncio.sleep(0.01)


async def _no_results(_seqs: Sequence[int]) -> Mapping[int, bytes]:
    return {}


@asynccontextmanager
async def delivering(
    url: str,
    targets: Mapping[str, ScriptedTarget],
    *,
    process: str = "p1",
    period: float = 3600.0,
    sweep: float = 0.1,
    tracing: Tracing | None = None,
    **options: Any,
) -> AsyncIterator[Delivering]:
    """Run an inbox with an outbox."""
    async with installation(url, process=process, **options) as here:
        deliveries = Deliveries(here.store, here.cipher, OWNER, process, _no_results)
        destinations = Destinations(here.store, here.cipher, OWNER)
        observer = Counted()

        def target(destination: Destination) -> ScriptedTarget:
            return targets[destination.name]

        outbox = Outbox(
            store=here.store,
            routing=here.routing,
            deliveries=deliveries,
            turns=Turns(here.store, deliveries, process),
            destinations=destinations,
            targets=target,
            observer=observer,
            backlog=here.backlog,
            period=period,
            rng=random.Random(1),  # noqa: S311
            sweep=sweep,
            tracing=tracing,
        )
        here.connect(deliveries=outbox)
        async with outbox.running():
            yield Delivering(here, outbox, destinations, observer)
