"""How many calls per second an access key may make."""

from collections.abc import Callable

from whaul.errors import ThrottledRequestException

IDLE_CALLERS = 10_000
"""Callers that a rate limit remembers. Beyond, it forgets those idle longest, whose allowance is full again anyway."""


class RateLimit:
    """A token bucket for each caller: calls per second, and a burst after a pause."""

    def __init__(self, per_second: float, clock: Callable[[], float], burst: int | None = None) -> None:
        """`clock` is monotonic, in seconds; with a `per_second` of 0 there is no limit.

        `burst` is how many calls a caller may make at once after a pause; None is one second's worth, at least 1.
        """
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, per_second: float | None = None, burst: int | None = None) -> None:
        """Count a call. Raises `ThrottledRequestException` when the caller has used its share.

        `per_second` and `burst` are the caller's own. A caller with its own limit never uses the server's burst.
        """
        if per_second is None:
            per_second, burst = self._per_second, self._burst if burst is None else burst
        if not per_second:
            return
        full = float(burst or max(1.0, per_second))
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (full, now))
        tokens = min(full, tokens + (now - since) * per_second)
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
