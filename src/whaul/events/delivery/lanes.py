"""Destinations in one process: what is held for each in memory, and whether it may be sent now."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from whaul.events.delivery.deliveries import Delivery
from whaul.events.delivery.retries import Health
from whaul.events.model import Event, Failed, Outcome, Outcomes
from whaul.events.routing import Destination, Routes
from whaul.events.targets import Target, TargetError
from whaul.telemetry import logs
from whaul.timeouts import Timeouts

if TYPE_CHECKING:
    from whaul.telemetry.spans import Tracing

log = structlog.get_logger()

HELD: Final = 8
"""How many times its concurrency a lane holds. A burst that fits is not claimed from the database afterwards, which
costs as much as to put it there, and waits for the disk once more."""
ATTEMPT: Final = 18.0
"""Seconds after which an attempt is cut off; a target has a limit of its own, and a lower one."""
REPLAY_SHARE: Final = 4
"""Replays have one place in so many."""


class Lane:
    """What is held for a destination. A lane does nothing by itself; the outbox moves it."""

    def __init__(self, destination: Destination, target: Target, rng: random.Random, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.destination = destination
        self.target = target
        self.made_at = datetime.now(UTC)
        """When the target was made."""
        self.health = Health(rng)
        self.queue: deque[Delivery] = deque()
        self.in_flight: set[Delivery] = set()
        self.reserved = 0
        """Places that are kept for deliveries which are being put into the database."""
        self.behind = False
        """Whether there may be deliveries in the database that nobody holds: new ones are not to overtake them."""
        self.fetching = False
        self.moves_at: float | None = None
        """When it is to be looked at next, by the event loop's clock."""

    @property
    def number(self) -> int:
        """The destination's."""
        return self.destination.number

    @property
    def is_active(self) -> bool:
        """Whether the destination takes events at all."""
        return self.destination.state == "active" and not self.destination.removed

    @property
    def concurrency(self) -> int:
        """Deliveries that may be in flight now."""
        return 1 if self.health.is_down else self.destination.concurrency

    @property
    def places(self) -> int:
        """Deliveries that may be held, as long as the destination answers."""
        return HELD * self.destination.concurrency

    def room(self) -> int:
        """Say how many more deliveries may be held."""
        if not self.is_active:
            return 0
        most = 1 if self.health.is_down else self.places
        return most - len(self.queue) - len(self.in_flight) - self.reserved

    def wants_more(self) -> bool:
        """Whether to claim more: few at a time cost as much as many, so not before half of the places are free."""
        room = self.room()
        return room > 0 and (not self.queue or room >= self.places // 2)

    def replay_room(self) -> int:
        """Say how many more replays may be among them."""
        held = sum(delivery.replay for delivery in (*self.queue, *self.in_flight))
        return max(1, self.destination.concurrency // REPLAY_SHARE) - held

    def next_batch(self, now: float) -> list[Delivery]:
        """Take what may be sent now, into flight."""
        room = self.concurrency - len(self.in_flight)
        if not self.is_active or now < self.health.not_before:
            return []
        batch = [self.queue.popleft() for _ in range(min(room, len(self.queue), self.target.max_batch))]
        self.in_flight.update(batch)
        return batch

    def held(self) -> list[Delivery]:
        """Everything that is ours."""
        return [*self.queue, *self.in_flight]

    def give_up_queue(self) -> list[Delivery]:
        """Empty the queue; return what was in it."""
        given_up = list(self.queue)
        self.queue.clear()
        return given_up


class Lanes:
    """Those of all destinations, by number."""

    def __init__(self, targets: Callable[[Destination], Target], rng: random.Random) -> None:
        """`targets` makes the target of a destination; it may raise TargetError."""
        self._targets = targets
        self._rng = rng
        self._timeouts = Timeouts()
        self._lanes: dict[int, Lane] = {}
        self._retired: list[Target] = []
        """Targets that were replaced; what is in flight may use them still, so they are closed at the end."""

    def __getitem__(self, number: int) -> Lane:
        return self._lanes[number]

    def get(self, number: int) -> Lane | None:
        """Find a lane."""
        return self._lanes.get(number)

    def values(self) -> Iterable[Lane]:
        """Return all of them."""
        return self._lanes.values()

    def follow(self, routes: Routes) -> list[Lane]:
        """Take up what has changed about destinations; return the lanes that did."""
        changed = []
        for number, destination in routes.destinations.items():
            lane = self._lanes.get(number)
            if lane is None:
                self._lanes[number] = Lane(destination, self._target(destination), self._rng, self._timeouts)
            elif lane.destination != destination:
                if not lane.is_active:  # and if it is now, what it refused before is forgotten
                    lane.health = Health(self._rng)
                self._renew(lane, destination)
                changed.append(lane)
        for number in self._lanes.keys() - routes.destinations.keys():
            if not self._lanes[number].reserved:
                self._retired.append(self._lanes.pop(number).target)
        return changed

    def renew_outdated(self) -> None:
        """Make targets anew that sign with an old secret, although its time is over."""
        now = datetime.now(UTC)
        for lane in self._lanes.values():
            until = lane.destination.old_secret_until
            if until is not None and lane.made_at < until <= now:
                self._renew(lane, lane.destination)

    async def close(self) -> None:
        """Close all targets."""
        for target in [*self._retired, *(lane.target for lane in self._lanes.values())]:
            await target.close()

    def _renew(self, lane: Lane, destination: Destination) -> None:
        self._retired.append(lane.target)
        lane.target, lane.destination, lane.made_at = self._target(destination), destination, datetime.now(UTC)

    def _target(self, destination: Destination) -> Target:
        try:
            return self._targets(destination)
        except TargetError as error:
            return UnusableTarget(str(error))


async def send(lane: Lane, batch: Sequence[Delivery], tracing: "Tracing | None") -> Sequence[Outcome]:
    """Send a batch. Whatever goes wrong is an outcome: a defect of one target ends no others' deliveries."""
    events = [delivery.event for delivery in batch]
    if tracing is None:
        return await _bounded(lane, events)
    name, target = lane.destination.name, lane.destination.target
    spans = [tracing.delivery(event.arrival, name, target, is_replay=event.replay) for event in events]
    outcomes = await _bounded(
        lane, [replace(event, trace=span.context) for event, span in zip(events, spans, strict=True)]
    )
    for delivery, span, outcome in zip(batch, spans, outcomes, strict=True):
        attributes = {
            "messaging.message.id": delivery.event.message_id,
            "whaul.event.field": delivery.event.field,
            "whaul.event.kind": delivery.event.kind,
            "whaul.attempt": delivery.attempts + 1,
        }
        span.end(attributes, outcome.reason if isinstance(outcome, Failed) else None)
    return outcomes


async def _bounded(lane: Lane, events: Sequence[Event]) -> Sequence[Outcome]:
    try:
        async with lane.timeouts.after(ATTEMPT):
            return await _send(lane, events)
    except TimeoutError:
        return [Failed("down", f"no answer in {ATTEMPT:.0f} seconds")] * len(events)


async def _send(lane: Lane, events: Sequence[Event]) -> Sequence[Outcome]:
    """Send events; those of a batch one by one if it fails for a defect of ours, since one of them may be why."""
    try:
        return await lane.target.send(events)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 - a defect of one target must not end the others' deliveries
        log.error("a delivery failed", destination=lane.destination.name, error=logs.without_text(error))
        if len(events) > 1:
            return [outcome for event in events for outcome in await _send(lane, [event])]
        return [Failed("rejected", f"an error of whaul's: {type(error).__name__}")]


class UnusableTarget:
    """Stands for an address that cannot be a destination any more, since a setting has changed, say."""

    max_batch = 10

    def __init__(self, problem: str) -> None:
        self._problem = problem

    async def send(self, events: Sequence[Event]) -> Outcomes:
        """Refuse everything."""
        return [Failed("closed", self._problem)] * len(events)

    async def close(self) -> None:
        """Do nothing."""
