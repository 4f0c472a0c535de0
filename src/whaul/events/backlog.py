"""How much waits, and whether there is room for more.

One process counts for all and stores it, at most every ten seconds and by bounded queries; each process adds what it
has put since. So a limit is kept to within what arrives in ten seconds.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from whaul.events.store import Store

SHARE: Final = 4
"""No destination, and no account's files, hold more than one part of so many."""
ALL: Final = "all"
"""What `Count` is called that is of everything: an event counts once, however many jobs it has."""


def of_destination(number: int) -> str:
    """Name the count of a destination."""
    return f"destination:{number}"


def of_files(account_id: str) -> str:
    """Name the count of an account's files."""
    return f"files:{account_id}"


@dataclass(frozen=True, slots=True)
class Count:
    """How much waits for something."""

    waiting: int = 0
    bytes: int = 0
    dead: int = 0
    oldest_at: int | None = None
    """Microseconds."""


class Backlog:
    """What waits, for one account number."""

    def __init__(self, store: Store, owner: str, *, max_events: int, max_bytes: int) -> None:
        self._store = store
        self._owner = owner
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.counts: Mapping[str, Count] = {}
        """As they were stored last."""
        self._counted_at: int | None = None
        self._events: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        """What this process has put since."""

    def is_full(self) -> bool:
        """Whether no more events may come in."""
        return self._holds(ALL, self._max_events, self._max_bytes)

    def has_its_share(self, what: str) -> bool:
        """Whether a destination, or an account's files, may hold no more."""
        return self._holds(what, self._max_events // SHARE, self._max_bytes // SHARE)

    def add(self, what: str, size: int) -> None:
        """Count an event that was put, until it is counted in the database."""
        self._events[what] += 1
        self._bytes[what] += size

    async def refresh(self) -> None:
        """Read the counts that were stored last. Raises RegistryUnavailableError."""
        statement = "SELECT what, waiting, bytes, dead, oldest_at, counted_at FROM backlog WHERE owner = $1"
        [rows] = await self._store.run((statement, (self._owner,)))
        counted_at = max((row[5] for row in rows), default=None)
        if counted_at != self._counted_at:
            self._counted_at = counted_at
            self._events.clear()
            self._bytes.clear()
        self.counts = {row[0]: Count(*row[1:5]) for row in rows}

    def _holds(self, what: str, max_events: int, max_bytes: int) -> bool:
        count = self.counts.get(what, Count())
        return count.waiting + self._events[what] >= max_events or count.bytes + self._bytes[what] >= max_bytes
