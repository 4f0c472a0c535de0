"""Writes down what came of deliveries, many in one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from whaul.events.backlog import Backlog, of_destination
from whaul.events.database.store import AGAIN, Store, UnfitDataError
from whaul.events.delivery.deliveries import Attempt, Deliveries, Delivery
from whaul.events.delivery.turns import Turns
from whaul.registry.errors import RegistryUnavailableError

log = structlog.get_logger()

WINDOW: Final = 0.05
"""Seconds in which outcomes are gathered."""
ORDERED_WINDOW: Final = 0.01
"""The same where a conversation waits for one of them."""
MAX_GROUP: Final = 200
"""Outcomes that are written at once."""


class Settler:
    """Keeps outcomes until they are written.

    An ordered delivery's is written soon, since the conversation waits for it; its transaction also claims the
    conversation's next delivery.
    """

    def __init__(
        self,
        store: Store,
        deliveries: Deliveries,
        turns: Turns,
        *,
        backlog: Backlog,
        on_next: Callable[[Sequence[Delivery]], None],
        on_lost: Callable[[int], None],
    ) -> None:
        """`on_next` gets the next deliveries of conversations, `on_lost` the number of outcomes that came too late."""
        self._store = store
        self._deliveries = deliveries
        self._turns = turns
        self._backlog = backlog
        self._on_next = on_next
        self._on_lost = on_lost
        self._attempts: list[Attempt] = []
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def add(self, attempt: Attempt) -> None:
        """Write this down soon."""
        self._attempts.append(attempt)
        if len(self._attempts) >= MAX_GROUP:
            self._hurry.set()
        elif attempt.delivery.turn is not None:
            asyncio.get_running_loop().call_later(ORDERED_WINDOW, self._hurry.set)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())

    def held(self) -> list[Delivery]:
        """Return what was tried, and is ours until that is written down."""
        return [attempt.delivery for attempt in self._attempts]

    async def aclose(self, seconds: float) -> None:
        """Write down what there is, as long as there is time."""
        self._hurry.set()
        if self._task is not None:
            _, pending = await asyncio.wait({self._task}, timeout=seconds)
            for task in pending:
                task.cancel()

    async def _write_all(self) -> None:
        try:
            while self._attempts:
                if not self._hurry.is_set():
                    try:
                        async with asyncio.timeout(WINDOW):
                            await self._hurry.wait()
                    except TimeoutError:
                        pass
                self._hurry.clear()
                await self._write(self._attempts[:MAX_GROUP])
        finally:
            self._task = None

    async def _write(self, attempts: Sequence[Attempt]) -> None:
        turns = [attempt.delivery.turn for attempt in attempts if attempt.delivery.turn is not None]
        settled, advanced = self._deliveries.settle(attempts), self._turns.advance(turns) if turns else []
        now = asyncio.get_running_loop().time()
        try:
            results = await self._store.run(*settled, *advanced)
            following = await self._turns.advanced(turns, results, now) if turns else []
        except RegistryUnavailableError:
            # The leases are extended as long as they can be; then another process delivers these, too.
            await asyncio.sleep(AGAIN)
            return
        except UnfitDataError:
            log.error("outcomes of deliveries could not be written", deliveries=[a.delivery.id for a in attempts])
            following = []
            results = []
        del self._attempts[: len(attempts)]
        ours = {row[0] for rows in results[: len(settled)] for row in rows}
        late = 0
        for attempt in attempts:
            if attempt.delivery.id not in ours:
                late += 1
            elif attempt.state != "pending" and not attempt.delivery.replay:
                event = attempt.delivery.event
                self._backlog.remove(of_destination(attempt.delivery.destination), event.seq, len(event.entry))
        if late:
            self._on_lost(late)
        if following:
            self._on_next(following)
