"""When a delivery is tried again, and what the answers of a destination say about it. Pure: no clock, no I/O."""

import random
from typing import Final, Literal, NamedTuple

from whaul.events.model import Accepted, Failed, Outcome

SCHEDULE: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds until the next attempt, after each that failed; the last one is repeated.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
MAX_RETRY_AFTER: Final = 3600.0
"""Seconds that a destination may ask to wait."""
DOWN_AFTER: Final = 10
"""Failures in a row after which a destination is taken to be down."""
OPEN_AFTER: Final = 3
"""Different events that a destination refuses in a row before it is taken to refuse all."""
MAX_PROBE_PAUSE: Final = 60.0
"""Seconds between two deliveries to a destination that is down."""

Change = Literal["down", "up", "open", "disabled"]


def pause(attempts: int, rng: random.Random) -> float:
    """Return the seconds until the next attempt after so many, at least one: anything up to the schedule's.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return rng.uniform(0, SCHEDULE[min(attempts, len(SCHEDULE)) - 1])


def retry_after(outcome: Failed) -> float:
    """Return the seconds that the destination asked to wait, as far as we listen."""
    return min(outcome.retry_after or 0.0, MAX_RETRY_AFTER)


class Verdict(NamedTuple):
    """What becomes of a delivery after an attempt."""

    state: Literal["done", "pending", "dead"]
    wait: float = 0.0
    """Seconds until the next attempt."""
    counted: bool = True
    """Whether the attempt is one of the delivery's."""


def verdict(
    outcome: Outcome, *, attempts: int, age: float, period: float, stopped: bool, rng: random.Random
) -> Verdict:
    """Judge a delivery after an attempt, the last of so many.

    `age` is in seconds since the first one, `period` how old it may get. It is not the delivery's fault if the
    destination is `stopped`, since it refuses everything.
    """
    if isinstance(outcome, Accepted):
        return Verdict("done")
    if outcome.reason == "impossible":
        return Verdict("dead")
    if stopped:
        return Verdict("pending", counted=False)
    if age >= period:
        return Verdict("dead")
    return Verdict("pending", min(max(pause(attempts, rng), retry_after(outcome)), period - age))


class Health:
    """What the last answers of a destination say about it, in this process.

    Down means that nothing is to be had there: then one delivery at a time asks, with pauses. Refusing everything is
    worse, since asking would not help; the destination opens, as a circuit does, and all processes leave it alone.
    An answer to one event that is not refused shows that the destination is well.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0
        self._refused: set[str] = set()
        self.is_down = False
        self.not_before = 0.0
        """When the next delivery may begin, by the clock of `note`."""

    def note(self, outcome: Outcome, message_id: str, now: float) -> Change | None:
        """Take in an answer; say what has changed. `now` is in monotonic seconds."""
        reason = "accepted" if isinstance(outcome, Accepted) else outcome.reason
        if reason in {"refused", "closed", "gone"}:
            self._refused.add(message_id)
            if reason == "gone":
                return "disabled"
            return "open" if reason == "closed" or len(self._refused) >= OPEN_AFTER else None
        self._refused.clear()
        if isinstance(outcome, Failed) and reason == "down":
            return self._note_failure(outcome, now)
        was_down, self.is_down, self._failures, self.not_before = self.is_down, False, 0, 0.0
        return "up" if was_down else None

    def _note_failure(self, outcome: Failed, now: float) -> Change | None:
        if self.is_down and now < self.not_before:  # it was under way when the destination went down
            return None
        self._failures += 1
        was_down, self.is_down = self.is_down, self._failures >= DOWN_AFTER
        wait = retry_after(outcome)
        if self.is_down:
            longest = min(2.0 ** min(self._failures - DOWN_AFTER, 10), MAX_PROBE_PAUSE)
            wait = max(wait, self._rng.uniform(longest / 2, longest))
        self.not_before = max(self.not_before, now + wait)
        return "down" if self.is_down and not was_down else None
