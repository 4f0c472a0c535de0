"""The outbox: deliveries to their destinations, until each has its event or will never have it.

    theory of operation

A new delivery comes from the inbox by hand, leased to this process, and no statement is spent on finding it. What
there is no room for stays in the database, and is claimed when there is (`_fetch`): memory holds a few times a
destination's concurrency (`HELD`), however many events wait. Once a second the sweep looks for what has become due:
retries, what a dead process left, what other processes had no room for.

Each destination has a lane, and lanes know nothing of each other: a slow one holds up itself. What came of attempts is
written in batches (`_settle`), one transaction for many; then a row is gone, or due later, or dead.

Ordered destinations take the same way; see `turns`. Where it ends differs: the next delivery of a conversation is
claimed by the transaction that settles the one before.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import structlog

from whaul.events.backlog import Backlog
from whaul.events.database.columns import microseconds_now
from whaul.events.database.leases import EXTEND_AT, LEASE, MAX_TAKEOVERS, MIN_LEFT
from whaul.events.database.store import Store
from whaul.events.delivery.deliveries import Attempt, Deliveries, Delivery
from whaul.events.delivery.destinations import Destinations
from whaul.events.delivery.lanes import Lane, Lanes, send
from whaul.events.delivery.retries import Change, verdict
from whaul.events.delivery.settling import Settler
from whaul.events.delivery.turns import Turns
from whaul.events.model import Accepted, Outcome
from whaul.events.observer import Observer
from whaul.events.periodic import Tasks, every, watching
from whaul.events.receiving.drafts import NewDeliveryJob
from whaul.events.routing import Destination, Routes, Routing
from whaul.events.targets import Target
from whaul.registry.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

log = structlog.get_logger()

SWEEP: Final = 1.0
"""Seconds between two looks for what is due."""
EXTEND: Final = 10.0
"""Seconds between two looks for leases that are to be extended."""
JUMP: Final = 30.0
"""Seconds by which a clock is put back before we take notice."""
STOP: Final = 20.0
"""Seconds that attempts under way have when the process stops."""


class Outbox:
    """Delivers, in one process; an intake for the inbox."""

    def __init__(
        self,
        *,
        store: Store,
        routing: Routing,
        deliveries: Deliveries,
        turns: Turns,
        destinations: Destinations,
        targets: Callable[[Destination], Target],
        observer: Observer,
        backlog: Backlog,
        period: float,
        rng: random.Random,
        sweep: float = SWEEP,
        tracing: "Tracing | None" = None,
    ) -> None:
        """`period` is how long a delivery is tried, `sweep` how often we look for what is due, both in seconds."""
        self._store = store
        self._routing = routing
        self._deliveries = deliveries
        self._turns = turns
        self._destinations = destinations
        self._observer = observer
        self._period = period
        self._rng = rng
        self._sweep = sweep
        self._tracing = tracing
        self._clock = -inf
        """By how much the database's clock is ahead of the event loop's."""
        self._lanes = Lanes(targets, rng)
        self._settler = Settler(store, deliveries, turns, backlog=backlog, on_next=self._go_on, on_lost=observer.lost)
        self._tasks = Tasks()
        self._attempts = Tasks()
        self._stopping = False
        routing.follow(self._follow)

    # The intake: see `Intake`.

    def reserve(self, lane: int) -> bool:
        """Keep a place for a new delivery; False if it would overtake others, or there is no room."""
        found = self._lanes.get(lane)
        if found is None or found.behind or self._stopping or found.room() <= 0:
            return False
        found.reserved += 1
        return True

    def cancel(self, lane: int) -> None:
        """Give back a place."""
        found = self._lanes.get(lane)
        if found is not None:
            found.reserved -= 1

    def take(self, job: NewDeliveryJob) -> None:
        """Deliver what was born leased to this process."""
        lane = self._lanes[job.destination]
        lane.reserved -= 1
        lane.queue.append(Delivery(job.id, 1, job.destination, job.event, job.until))
        self._move_soon(lane)

    def wake(self, lane: int) -> None:
        """Look for deliveries in the database."""
        found = self._lanes.get(lane)
        if found is not None:
            found.behind = True
            self._fetch_soon(found)

    # Moving: from the database, in order, to the target.

    def _move(self, lane: Lane) -> None:
        """Send what may be sent, and see that there is more; give back what was on its way when all stopped."""
        if not lane.is_active:
            self._give_back(lane)
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        while not self._stopping and (batch := lane.next_batch(now)):
            self._attempts.start(self._attempt(lane, batch))
        if lane.queue and lane.health.not_before > now:
            self._move_at(lane, lane.health.not_before)
        if lane.behind:
            self._fetch_soon(lane)

    def _move_soon(self, lane: Lane) -> None:
        """Move a lane when all that comes with this delivery is there: it may go in one batch."""
        if lane.moves_at != 0.0:
            lane.moves_at = 0.0
            asyncio.get_running_loop().call_soon(self._move_as_said, lane, 0.0)  # costs less than a timer

    def _move_at(self, lane: Lane, when: float) -> None:
        if lane.moves_at is None or when < lane.moves_at:
            lane.moves_at = when
            asyncio.get_running_loop().call_at(when, self._move_as_said, lane, when)

    def _move_as_said(self, lane: Lane, when: float) -> None:
        if lane.moves_at == when:
            lane.moves_at = None
            self._move(lane)

    def _go_on(self, deliveries: Sequence[Delivery]) -> None:
        """Take the next deliveries of conversations whose turns are ours."""
        for delivery in deliveries:
            self._admit(self._lanes[delivery.destination], delivery)

    def _admit(self, lane: Lane, delivery: Delivery) -> None:
        """Take a delivery that was claimed."""
        if delivery.takeovers:
            self._observer.taken_over(1)
        if delivery.takeovers >= MAX_TAKEOVERS:
            detail = f"given up: {MAX_TAKEOVERS} processes ended while they had it"
            self._observer.delivered(lane.destination.name, "dead", None)
            self._settler.add(Attempt(delivery, "abandoned", detail, microseconds_now(), 0.0, "dead", counted=False))
        else:
            lane.queue.append(delivery)
            self._move_soon(lane)

    def _fetch_soon(self, lane: Lane) -> None:
        """Claim more."""
        if lane.wants_more() and not (lane.fetching or self._stopping):
            lane.fetching = True
            self._tasks.start(self._fetch(lane))

    async def _fetch(self, lane: Lane) -> None:
        try:
            while lane.behind and lane.wants_more() and not self._stopping:
                lane.behind = False  # whoever puts one in the database meanwhile says so again
                room = lane.room()
                lane.reserved += room
                try:
                    found = await self._claim(lane, room)
                finally:
                    lane.reserved -= room
                lane.behind = lane.behind or len(found) >= room
                for delivery in found:
                    self._admit(lane, delivery)
        except RegistryUnavailableError:
            lane.behind = True  # the next sweep tries again
        finally:
            lane.fetching = False

    async def _claim(self, lane: Lane, room: int) -> list[Delivery]:
        now = asyncio.get_running_loop().time()
        if lane.destination.ordered:
            return await self._turns.claim(lane.number, room, now)
        found = await self._deliveries.claim(lane.number, room, replay=False, now=now)
        replays = min(room - len(found), lane.replay_room())
        if replays > 0:
            found += await self._deliveries.claim(lane.number, replays, replay=True, now=now)
        return found

    # Attempts.

    async def _attempt(self, lane: Lane, batch: Sequence[Delivery]) -> None:
        """Send a batch, and judge what came of it."""
        loop = asyncio.get_running_loop()
        begun, at = loop.time(), microseconds_now()
        try:
            sent = [delivery for delivery in batch if delivery.until - begun >= MIN_LEFT]
            if sent:
                outcomes = await send(lane, sent, self._tracing)
                for delivery, outcome in zip(sent, outcomes, strict=True):
                    self._judge(lane, delivery, outcome, at, loop.time() - begun)
        finally:
            lane.in_flight.difference_update(batch)
            lane.behind = lane.behind or any(delivery.replay for delivery in batch)  # there may be room for the next
            self._move(lane)

    def _judge(self, lane: Lane, delivery: Delivery, outcome: Outcome, at: int, seconds: float) -> None:
        destination = lane.destination
        was_active = lane.is_active
        change = lane.health.note(outcome, delivery.event.message_id, asyncio.get_running_loop().time())
        stopped = change in {"open", "disabled"} or not was_active
        first_at = delivery.first_at if delivery.first_at is not None else destination.running(at)
        judged = verdict(
            outcome,
            attempts=delivery.attempts + 1,
            age=(destination.running(microseconds_now()) - first_at) / 1_000_000,
            period=self._period,
            stopped=stopped,
            rng=self._rng,
        )
        name = "delivered" if isinstance(outcome, Accepted) else outcome.reason
        since = delivery.age if name == "delivered" and not delivery.replay else None  # a replay's is days
        self._observer.delivered(destination.name, "dead" if judged.state == "dead" else name, since)
        attempt = Attempt(
            delivery, name, outcome.detail, at, seconds, judged.state, judged.wait, judged.counted, first_at
        )
        self._settler.add(attempt)
        if change is not None:
            self._changed(lane, change, outcome.detail)
        elif not was_active and name in {"delivered", "rejected", "impossible"}:
            self._tasks.start(self._restart(lane))

    # What a destination's answers mean for all of it.

    def _changed(self, lane: Lane, change: Change, detail: str) -> None:
        name = lane.destination.name
        if change == "up":
            log.info("a destination takes events again", destination=name)
            self._tasks.start(self._revive(lane))
            return
        self._give_back(lane)
        if change == "down":
            log.warning("a destination is down; one delivery at a time asks", destination=name)
            lane.behind = True
        elif lane.is_active:
            log.error("a destination refuses all events; they wait", destination=name, state=change)
            lane.destination = replace(lane.destination, state=change)
            self._tasks.start(self._stop(lane, change, detail))

    async def _stop(self, lane: Lane, state: str, detail: str) -> None:
        await self._destinations.stop(lane.number, state, detail)
        await self._routing.refresh()

    async def _restart(self, lane: Lane) -> None:
        if await self._destinations.restart(lane.number):
            log.info("a destination takes events again", destination=lane.destination.name)
        await self._routing.refresh()
        await self._revive(lane)

    async def _revive(self, lane: Lane) -> None:
        """Make all that waits due at once, slice by slice."""
        slices = [partial(self._deliveries.revive, lane.number, replay=replay) for replay in (False, True)]
        if lane.destination.ordered:
            slices.append(partial(self._turns.revive, lane.number))
        for revive in slices:
            while not self._stopping and await revive():
                self.wake(lane.number)
        self.wake(lane.number)

    def _give_back(self, lane: Lane) -> None:
        if not self._stopping and (given_up := lane.give_up_queue()):  # at the end, all that is held goes at once
            self._tasks.start(self._release(given_up))

    async def _release(self, deliveries: Sequence[Delivery]) -> None:
        """Give deliveries back to the database."""
        turns = [delivery.turn for delivery in deliveries if delivery.turn is not None]
        await self._store.run(self._deliveries.release(deliveries), *(self._turns.release(turns) if turns else []))

    def held(self) -> list[Delivery]:
        """Return all that is ours."""
        return [*self._settler.held(), *(held for lane in self._lanes.values() for held in lane.held())]

    async def probe(self, number: int) -> None:
        """Send one delivery to an open destination, to see whether it is back."""
        lane = self._lanes.get(number)
        if lane is None or lane.in_flight or lane.is_active:
            return
        for delivery in await self._claim(lane, 1):
            lane.in_flight.add(delivery)
            await self._attempt(lane, [delivery])

    def _follow(self, routes: Routes) -> None:
        """Take up what has changed about destinations."""
        for lane in self._lanes.follow(routes):
            if not lane.is_active:
                self._give_back(lane)

    # As long as it runs.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver. At the end, what is under way has some time, and the rest is given back."""
        await self._routing.refresh()
        try:
            async with watching(every(self._sweep, self.sweep), every(EXTEND, self._extend)):
                yield
        finally:
            self._stopping = True
            await self._end()

    async def _end(self) -> None:
        await self._attempts.end(STOP)
        await self._tasks.end(STOP)  # a claim that is cut off leaves leases of which nobody knows
        await self._settler.aclose(STOP)
        held = [delivery for lane in self._lanes.values() for delivery in lane.held()]
        with suppress(RegistryUnavailableError):  # then their leases end
            if held:
                await self._release(held)
        await self._lanes.close()

    async def sweep(self) -> None:
        """Look for what nobody holds: deliveries that are due, destinations to be probed or forgotten."""
        if not await self._routing.is_current():
            await self._routing.refresh()
        await self._look_at_clock()
        lanes = [lane for lane in self._lanes.values() if lane.room() > 0]
        unordered = [lane.number for lane in lanes if not lane.destination.ordered]
        ordered = [lane.number for lane in lanes if lane.destination.ordered]
        due = await self._deliveries.due(unordered) if unordered else set()
        due |= await self._turns.due(ordered) if ordered else set()
        for number in due:
            self.wake(number)
        if any(lane.destination.state == "open" for lane in self._lanes.values()):
            for number in await self._destinations.probes():
                self._attempts.start(self.probe(number))
        self._lanes.renew_outdated()
        for lane in list(self._lanes.values()):
            if lane.destination.removed:
                await self._drop(lane)

    async def _look_at_clock(self) -> None:
        """If the database's clock was put back, what was due is far ahead, and is made due now."""
        [[(now,)]] = await self._store.run((f"SELECT {self._store.now}", ()))
        ahead = now / 1_000_000 - asyncio.get_running_loop().time()
        if ahead < self._clock - JUMP:
            log.warning("the database's clock was put back", seconds=round(self._clock - ahead))
            for lane in self._lanes.values():
                self._tasks.start(self._revive(lane))
        self._clock = ahead

    async def _drop(self, lane: Lane) -> None:
        dropped = await self._deliveries.drop(lane.number)
        for _ in range(dropped):
            self._observer.delivered(lane.destination.name, "dropped", None)
        if not dropped:
            await self._destinations.forget(lane.number)

    async def _extend(self) -> None:
        """Extend the leases of what waits here for long, and let go of what is no longer ours."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        held = [delivery for delivery in self.held() if delivery.until - now < EXTEND_AT]
        if not held:
            return
        turns = [delivery.turn for delivery in held if delivery.turn is not None]
        rows, *_ = await self._store.run(self._deliveries.extend(held), *(self._turns.extend(turns) if turns else []))
        ours = {row[0] for row in rows}
        for delivery in held:
            if delivery.id in ours:
                delivery.until = now + LEASE
            elif (lane := self._lanes.get(delivery.destination)) is not None:
                with suppress(ValueError):
                    lane.queue.remove(delivery)
