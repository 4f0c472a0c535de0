"""The newest events, for lists that are live."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from whaul.events.journal import Journal, Page
from whaul.events.selecting import Selection

ROWS: Final = 50
"""Events on a page."""
LOOK: Final = 1.0
"""Seconds between two looks."""


class Recent:
    """The newest events of a selection, read once for all who ask within a second."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._asked: dict[str, tuple[float, asyncio.Task[Page]]] = {}
        self.streams = 0

    async def page(self, selection: Selection) -> Page:
        """Read them. Raises RegistryUnavailableError."""
        key, now = selection.written(), self._clock()
        self._asked = {name: known for name, known in self._asked.items() if now - known[0] < LOOK}
        if key not in self._asked:
            self._asked[key] = (now, asyncio.create_task(self._journal.page(selection, ROWS)))
        return await asyncio.shield(self._asked[key][1])
