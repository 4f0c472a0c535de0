"""What comes, as it comes: events of the journal, and replays. Only reads, so that whoever follows leaves nothing."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from whaul.events.delivery.replays import Replay, Replays
from whaul.events.journal import EventRecord, Journal
from whaul.events.selecting import Selection
from whaul.registry.errors import RegistryUnavailableError

LOOK: Final = 0.5
"""Seconds between two looks for what is new."""
SETTLED: Final = 20
"""Looks after which no event comes any more that has an earlier number than those that are there."""
LATE: Final = 100
"""How far back that may be at the beginning."""
COMMIT: Final = timedelta(minutes=1)
"""After which the row of a replay is there that was begun."""
MOST: Final = 1000
"""Events that are read at a look."""


class Coming:
    """Events that come, each once, in their order. `begin` first."""

    def __init__(self, journal: Journal, selection: Selection, on_away: Callable[[], None]) -> None:
        """`on_away` is called when the database does not answer any more; it is looked for again."""
        self._journal = journal
        self._selection = selection
        self._on_away = on_away
        self._is_away = False
        self._looked_at: deque[int] = deque(maxlen=SETTLED)
        self._told: set[int] = set()
        self.has_more = False
        """Whether the last look did not reach the end."""

    async def begin(self) -> None:
        """Tell what comes from now on, or what came since the selection's time. Raises RegistryUnavailableError."""
        if self._selection.since is None:
            self._looked_at.append(await self._journal.newest() - LATE)
            self._told = {event.seq for event in await self._found()}
        else:
            self._looked_at.append(await self._journal.first(self._selection) - 1)

    async def look(self) -> Sequence[EventRecord]:
        """Return the events that were not told yet."""
        try:
            newest, found = await self._journal.newest(), await self._found()
        except RegistryUnavailableError:
            if not self._is_away:
                self._on_away()
            self._is_away, self.has_more = True, False
            return []
        self._is_away, self.has_more = False, len(found) == MOST
        if self.has_more:
            self._looked_at.clear()
        self._looked_at.append(found[-1].seq if self.has_more else newest)
        new = [event for event in found if event.seq not in self._told]
        self._told = {seq for seq in self._told | {event.seq for event in new} if seq > self._looked_at[0]}
        return new

    async def _found(self) -> Sequence[EventRecord]:
        return await self._journal.after(self._selection, self._looked_at[0], MOST)


class Replayed:
    """Events that are replayed, to whichever destination, by jobs that begin later. `begin` first.

    Dead letters that are tried again are such a job, too.
    """

    def __init__(self, jobs: Replays) -> None:
        self._jobs = jobs
        self._known: set[str] = set()
        self._since: datetime | None = None
        self._positions: dict[str, int] = {}
        """How far each job was followed; how far it is itself, is nothing to us."""
        self.has_more = False

    async def begin(self) -> None:
        """Leave out the jobs that are there. Raises RegistryUnavailableError."""
        jobs = await self._jobs.all()
        self._known = {job.id for job in jobs}
        self._since = jobs[0].created_at - COMMIT if jobs else None

    async def look(self) -> Sequence[int]:
        """Return the numbers of some events that are to be replayed; none while the database is away."""
        try:
            jobs = {job.id: job for job in reversed(await self._jobs.all(self._since))}
            self._positions |= {id_: 0 for id_ in jobs if id_ not in self._known}
            self._known |= jobs.keys()
            found = await self._page(jobs)
        except RegistryUnavailableError:
            found = []
        self.has_more = bool(found)
        return found

    async def _page(self, jobs: dict[str, Replay]) -> list[int]:
        while self._positions:
            id_, position = next(iter(self._positions.items()))
            reached: int | None = None
            found: list[int] = []
            if id_ in jobs and jobs[id_].state != "cancelled":
                found, reached = await self._jobs.page(jobs[id_], position)
            if reached is None:
                del self._positions[id_]
            else:
                self._positions[id_] = reached
            if found:
                return found
        return []


async def events(journal: Journal, selection: Selection, on_away: Callable[[], None]) -> AsyncIterator[EventRecord]:
    """Yield events, for ever; see `Coming`."""
    coming = Coming(journal, selection, on_away)
    await coming.begin()
    while True:
        for event in await coming.look():
            yield event
        if not coming.has_more:
            await asyncio.sleep(LOOK)
