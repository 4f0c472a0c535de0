"""How many calls per second an access key may make."""

from collections.abc import Callable

from whaul.errors import ThrottledRequestException

IDLE_CALLERS = 10_000
"""Callers that a rate limit remembers; beyond, those idle longest are forgotten (their allowance is full again)."""


class RateLimit:
    """A token bucket for each caller: so many calls per second, and so many at once after a pause."""

    def __init__(self, per_second: float, clock: Callable[[], float], burst: int | None = None) -> None:
        """`clock` is monotonic, in seconds; a `per_second` of 0 allows everything.

        `burst` is how many calls a rested caller may make at once: one second's worth when it is None, at least 1.
        """
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, per_second: float | None = None, burst: int | None = None) -> None:
        """Count a call; raises `ThrottledRequestException` when the caller has used its share.

        A caller may have a limit and a burst of its own; with a limit of its own, the burst of the others is not its.
        """
        if per_second is None:
            per_second, burst = self._per_second, self._burst if burst is None else burst
        if not per_second:
            return
        most = float(burst or max(1.0, per_second))
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (most, now))
        tokens = min(most, tokens + (now - since) * per_second)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - allowed, now)
        if len(self._buckets) > IDLE_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        if not allowed:
            raise ThrottledRequestException(
                f"The access key has used its {per_second:g} calls per second (WHAUL_RATE_LIMIT, or the key's own "
                "limit). Try again later.",
                retry_after=(1 - tokens) / per_second,
            )
