"""What waits for a destination, by bounded queries."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from whaul.events.backlog import Count, of_destination
from whaul.events.database.columns import moment
from whaul.events.database.store import Store
from whaul.events.journal import unsealed
from whaul.secrets import Cipher

MAX_COUNTED: Final = 50_000
"""Rows that are looked at. What is more was counted by a server lately; see `backlog`."""
_PENDING: Final = f"""
    SELECT count(*), min(created_at) FROM (
      SELECT created_at FROM deliveries WHERE destination = $1 AND state = 'pending' LIMIT {MAX_COUNTED}) AS waiting"""
_DEAD: Final = f"""
    SELECT count(*) FROM (
      SELECT 1 FROM deliveries WHERE destination = $1 AND state = 'dead' LIMIT {MAX_COUNTED}) AS dead"""
_COUNTED: Final = "SELECT waiting, bytes, dead, oldest_at FROM backlog WHERE what = $1 AND owner = $2"
_ERROR: Final = """
    SELECT last_error FROM (
      SELECT last_error, due_at FROM deliveries WHERE destination = $1 AND state = 'pending' LIMIT 1000) AS waiting
    WHERE last_error IS NOT NULL ORDER BY due_at DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a destination has yet to get."""

    pending: int
    dead: int
    oldest_at: datetime | None
    last_error: str | None
    """Of one of them."""

    @property
    def oldest_seconds(self) -> int | None:
        """For how long the oldest has waited."""
        if self.oldest_at is None:
            return None
        return max(0, int((datetime.now(UTC) - self.oldest_at).total_seconds()))


async def waiting_for(store: Store, cipher: Cipher, owner: str, number: int) -> Waiting:
    """Count what waits for a destination. Raises RegistryUnavailableError."""
    counted = [Count(*row) for row in await store.read(_COUNTED, of_destination(number), owner)]
    [(pending, oldest_at)] = await store.read(_PENDING, number)
    [(dead,)] = await store.read(_DEAD, number)
    if counted and pending >= MAX_COUNTED:
        pending = max(pending, counted[0].waiting)
        oldest_at = min(oldest_at, counted[0].oldest_at or oldest_at)
    if counted and dead >= MAX_COUNTED:
        dead = max(dead, counted[0].dead)
    errors = await store.read(_ERROR, number)
    last_error = unsealed(cipher, errors[0][0]) if errors else None
    return Waiting(pending, dead, None if oldest_at is None else moment(oldest_at), last_error)
