"""The newest events, for lists that are live."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from whaul.events.journal import Journal, Page
from whaul.events.selecting import Selection

ROWS: Final = 50
"""Events on a page."""
LOOK: Final = 1.0
"""Seconds between two looks."""
MAX_LIVE: Final = 200
"""Lists that are live at once."""
MAX_OWN_LIVE: Final = 20
"""Of these, those of one session."""


class Recent:
    """The newest events of a selection, read once for all who ask within a second."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._asked: dict[str, tuple[float, asyncio.Task[Page]]] = {}
        self._live = Counter[str]()
        """Lists that are live, by session."""

    def has_room(self, session: str) -> bool:
        """Whether one more list may be live."""
        return self._live.total() < MAX_LIVE and self._live[session] < MAX_OWN_LIVE

    @contextmanager
    def counted(self, session: str) -> Iterator[None]:
        """Count a list as live, as long as it is."""
        self._live[session] += 1
        try:
            yield
        finally:
            self._live[session] -= 1
            self._live += Counter()  # forgets sessions that have none

    async def page(self, selection: Selection) -> Page:
        """Read them. Raises RegistryUnavailableError."""
        key, now = selection.written(), self._clock()
        self._asked = {name: known for name, known in self._asked.items() if now - known[0] < LOOK}
        if key not in self._asked:
            self._asked[key] = (now, asyncio.create_task(self._journal.page(selection, ROWS)))
        return await asyncio.shield(self._asked[key][1])
