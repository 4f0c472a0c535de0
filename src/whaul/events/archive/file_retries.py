"""What becomes of a file after an attempt, and what the attempt says of others. Pure: no clock, no I/O.

A bucket that is away, and an account that Meta throttles, are left alone as a destination is that is down: one file at
a time asks. See `retries.Health`.
"""

import random
from typing import Final

from whaul.events.archive.fetching import Stored, Unstored
from whaul.events.archive.files import EXPIRED, LAST_CHANCE, FileJob, Settled
from whaul.events.delivery.retries import Change, Health, pause
from whaul.events.model import Accepted, Failed

MISSING_PAUSE: Final = 60.0
"""Seconds after which Meta is asked once more for an id that it does not know."""
SHORTEST: Final = 1.0
"""Seconds for which a file of what is down is given back at least."""

Key = tuple[str, str]
"""A column of `files`, `account_id` or `bucket`, and what is in it."""


def judged(job: FileJob, outcome: Stored | Unstored, now: int, rng: random.Random) -> Settled:
    """Decide what becomes of a file; `now` is in microseconds. Neither parked nor lost ones come here."""
    if isinstance(outcome, Stored):
        return Settled(job, "stored", outcome)
    left = (job.expires_at - now) / 1_000_000 - LAST_CHANCE
    """Seconds until the last attempt."""
    if outcome.why == "permanent":
        return Settled(job, "failed", detail=outcome.detail)
    if outcome.why == "missing":
        if job.missing or left <= 0:
            return Settled(job, "failed", detail=outcome.detail)
        return Settled(job, "pending", detail=outcome.detail, wait=MISSING_PAUSE, missing=True)
    if left <= 0:
        return Settled(job, "failed", detail=f"{EXPIRED} before it could be archived: {outcome.detail}")
    wait = max(pause(job.attempts + 1, rng), outcome.retry_after or 0.0)
    return Settled(job, "pending", detail=outcome.detail, wait=min(wait, left))


class Healths:
    """Those of accounts at Meta and of buckets, as far as they are not well, in one process."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._known: dict[Key, Health] = {}

    def down(self, job: FileJob) -> set[Key]:
        """Say what a file needs and is down."""
        return {key for key in _keys(job) if key in self._known and self._known[key].is_down}

    def pause(self, keys: set[Key], now: float) -> float:
        """Return the seconds until all of these may be asked again."""
        return max(SHORTEST, *(self._known[key].not_before - now for key in keys))

    def resting(self, now: float) -> tuple[list[str], list[str]]:
        """Return the accounts and the buckets that are left alone for now."""
        keys = [key for key, health in self._known.items() if health.not_before > now]
        accounts, buckets = ([name for column, name in keys if column == kind] for kind in ("account_id", "bucket"))
        return accounts, buckets

    def note(self, job: FileJob, outcome: Stored | Unstored, now: float) -> list[tuple[Key, Change]]:
        """Take in what came of a file; say what has changed."""
        changes: list[tuple[Key, Change]] = []
        for key in _keys(job):
            if isinstance(outcome, Unstored) and outcome.why == key[0].removesuffix("_id"):
                health = self._known.setdefault(key, Health(self._rng))
                change = health.note(Failed("down", outcome.detail, outcome.retry_after), job.id, now)
            elif key in self._known and (key[0] == "account_id" or isinstance(outcome, Stored)):
                change = self._known.pop(key).note(Accepted(), job.id, now)
            else:  # it was not asked, or what came says nothing about others
                continue
            if change is not None:
                changes.append((key, change))
        return changes


def _keys(job: FileJob) -> tuple[Key, Key]:
    return ("account_id", job.account_id), ("bucket", job.place.bucket_name)
